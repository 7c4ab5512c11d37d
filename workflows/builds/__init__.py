"""Builds: from problems to a dataset, whole or derived."""
