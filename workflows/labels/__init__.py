"""Labels of steps: equations 9 and 10 and their relatives."""
