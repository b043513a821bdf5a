"""SYMPHONY (arXiv 2601.22623) as a reproducible experiment pipeline."""
