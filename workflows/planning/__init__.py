"""What a run will cost, what it has cost, and whether the two agree."""
