"""What every operator has, and nothing of Mimic."""
