"""What a run leaves: one dataclass is one line of JSON is one row of DuckDB."""
