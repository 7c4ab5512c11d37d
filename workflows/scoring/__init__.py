"""Scoring: a verifier's rewards for responses."""
