"""What starts next, where, and what becomes of what fails."""
