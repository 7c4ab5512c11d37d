"""Searches for a solution, guided by rewards of steps."""
