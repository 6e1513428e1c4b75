"""The Kubernetes operator of Mimic: puts the proxy next to the workloads that ask for it."""
