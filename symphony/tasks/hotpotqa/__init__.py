"""HotpotQA: questions about Wikipedia pages."""
