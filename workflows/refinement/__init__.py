"""Refinement of responses by a verifier's critiques."""
