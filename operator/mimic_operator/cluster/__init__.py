"""The only Kubernetes I/O beside kopf's watch."""
