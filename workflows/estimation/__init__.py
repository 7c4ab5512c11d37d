"""How many rollouts a state gets, and what they say of it."""
