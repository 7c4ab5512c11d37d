"""What we mean."""
