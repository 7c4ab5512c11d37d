"""Every text that goes into a model or comes out of it."""
