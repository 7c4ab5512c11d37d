"""The page of a run: a local server, static files, and what a browser loads."""
