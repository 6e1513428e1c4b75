"""Side-by-side benchmark: Mimic against its peers, in one run, on two cores. Run with `python -m bench`."""
