"""What tests of a running cluster share."""
