"""Configs to runs: composed, checked, and named by their digests."""
