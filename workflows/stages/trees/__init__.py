"""Trees that stages grow while they work."""
