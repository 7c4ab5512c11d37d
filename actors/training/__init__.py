"""Fine-tuning as a Ray Train job."""
