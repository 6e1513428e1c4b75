"""Pages and files that are written from the operator's own declarations, and belong to the checkout alone."""
