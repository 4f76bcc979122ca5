"""The cluster's object store: how it is opened, the same on every cloud, and what it can do."""
