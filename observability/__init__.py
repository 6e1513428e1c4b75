"""Builds the Grafana dashboards and the Prometheus rules of the Helm chart from the catalogues of metrics.

`python -m observability` writes them, `python -m observability --check` says which of them are not up to date. Needed
at build time only; neither proxy nor operator imports it.
"""
