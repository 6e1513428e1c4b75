"""What the operator's processes tell: log lines, metrics, health."""
