"""HotpotQA: questions over pages of Wikipedia."""
