"""Who says what of a step."""
