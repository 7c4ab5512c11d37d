"""A text that is written while its code is run: stages `rationalize`, `formalize` and `score`."""
