"""Verdicts on steps: by judges, by code and by formulas."""
