"""The shapes in which a run's rows are handed out."""
