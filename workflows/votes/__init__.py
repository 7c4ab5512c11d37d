"""Step rewards of a verifier, and scores of whole solutions."""
