"""Publishing to the Hugging Face Hub: a finished run's dataset, a training's model."""
