"""What runs somewhere."""
