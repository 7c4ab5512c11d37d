"""A run in its store: what it is, and what of it is committed."""
