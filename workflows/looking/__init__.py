"""Looking at runs from Python: tables, examples, and what became of one solution."""
