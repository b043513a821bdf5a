"""Four generated tasks that the embedded models know."""
