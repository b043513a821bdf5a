"""Four generated tasks, which the embedded models know."""
