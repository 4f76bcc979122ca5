"""What users and operators see: the REST API, the operator's page, and what they set going in Kafka and Kubernetes."""
