"""Everything that survives a crash: objects, rows, runs, datasets, trainings."""
