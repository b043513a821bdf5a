"""Search methods over one signature (`result.Search`)."""
