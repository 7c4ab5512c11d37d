"""Language models: one contract, three kinds."""
