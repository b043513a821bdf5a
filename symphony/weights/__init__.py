"""Models' files: downloaded, checked, quantised."""
