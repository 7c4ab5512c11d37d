"""What a verifier is worth on a benchmark."""
