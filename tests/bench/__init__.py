"""What `invoke bench` runs: the figures that Armillary promises, measured on a cluster `bench`."""
