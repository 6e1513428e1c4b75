"""Admission: what the API server asks before it stores pods and MimicBackends."""
