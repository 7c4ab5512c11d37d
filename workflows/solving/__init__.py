"""Solves problems: a policy searched with a verifier."""
