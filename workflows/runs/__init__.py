"""Runs of every road: how they start, work, continue and report."""
