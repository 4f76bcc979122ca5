"""What other projects publish, taken as it is: container images by digest, binaries by checksum."""
