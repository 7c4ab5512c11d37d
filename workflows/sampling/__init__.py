"""How many samples a problem gets."""
