"""What is handed out of a finished run."""
