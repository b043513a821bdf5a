"""Local models by transformers."""
