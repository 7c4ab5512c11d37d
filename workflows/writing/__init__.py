"""What writers of code-checked texts share: the form they keep to, and the draft."""
