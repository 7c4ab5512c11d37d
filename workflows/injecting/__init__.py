"""One error put into a right solution by rule, and the rest carried on from it."""
