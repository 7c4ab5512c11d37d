"""What a machine is, and what can run on it."""
