"""Pages of docs/reference, and the chart's CustomResourceDefinition, which are written from the code."""
