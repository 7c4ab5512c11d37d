"""A training in its store: checkpoints and the finished model."""
