"""A service: replicas that answer questions, and a door with HTTP before them, on Ray Serve."""
