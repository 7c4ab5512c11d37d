"""How many samples a problem gets, and which of them go on."""
