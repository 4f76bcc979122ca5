"""The container images of a cluster: built here, kept by content, pushed to its registry."""
