"""What a cluster is: cluster.yml, changes to it, endpoints, reports. Nothing here does I/O."""
