"""Which model is meant, and how its files get onto a machine."""
