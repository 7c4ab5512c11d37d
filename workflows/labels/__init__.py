"""Labels of steps: equations 9 and 10, and the forms of other papers."""
