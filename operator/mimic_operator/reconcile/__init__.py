"""From a MimicBackend to what the cluster should hold, and back to its status."""
