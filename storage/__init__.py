"""What is true after a crash."""
