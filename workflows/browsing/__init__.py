"""What a page shows of a run: an index of its paths, filters, figures, one path, marks."""
