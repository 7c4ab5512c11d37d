"""What verdicts of a verifier come to: step rewards, and what they say of a solution."""
