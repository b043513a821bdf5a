"""Model backends and what stands between them and an agent: the batcher and the call store."""
