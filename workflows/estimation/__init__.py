"""How many rollouts a state gets, and the estimate of its success probability."""
