"""Where the work of a command is done."""
