"""Shows what runs there are, what they were, and how the live ones do. Reads records and progress files only."""
