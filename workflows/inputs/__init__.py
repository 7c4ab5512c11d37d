"""Files in: problems and solutions."""
