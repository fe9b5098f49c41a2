"""Evict tokens from the KV cache after the prompt, before the question is seen."""
