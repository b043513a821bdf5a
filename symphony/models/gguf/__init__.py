"""GGUF files through llama.cpp: an engine that batches continuously and keeps what prompts have in common."""
