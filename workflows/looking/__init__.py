"""Reading runs from Python: tables, examples, and why a solution ended."""
