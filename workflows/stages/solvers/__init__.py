"""What stage `solve` asks of its two models."""
