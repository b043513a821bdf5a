"""GGUF files through llama.cpp, with an engine that batches continuously and keeps shared prefixes of prompts."""
