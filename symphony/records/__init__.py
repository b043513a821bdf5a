"""The records of a run: one dataclass is one line of JSON is one row of DuckDB."""
