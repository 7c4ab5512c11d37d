"""The embedded default: a small world whose every step can be checked, and models trained on it."""
