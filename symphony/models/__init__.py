"""Model backends and the layers between them and an agent: the batcher and the call store."""
