"""The ground floor: what HTTP says, in pure functions. It imports nothing but errors and pointer."""
