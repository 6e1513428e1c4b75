"""The MimicBackend resource, read and turned into what runs. Everything here is pure."""
