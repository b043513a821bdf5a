"""Runs to records: models loaded, problems searched at once, answers kept."""
