"""What each verb does beside printing."""
