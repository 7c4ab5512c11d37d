"""Models that a server runs: its HTTP, its two routes, and what it can do."""
