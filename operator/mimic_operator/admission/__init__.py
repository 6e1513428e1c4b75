"""What happens when a pod or a MimicBackend is written: decided here without I/O, answered by the webhook process."""
