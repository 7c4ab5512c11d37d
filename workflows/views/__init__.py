"""The shapes in which a run's rows can be downloaded."""
