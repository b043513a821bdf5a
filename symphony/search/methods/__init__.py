"""The search methods that SYMPHONY is compared with, one per file."""
