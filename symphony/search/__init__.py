"""Search methods, all with the same signature (`result.Search`)."""
