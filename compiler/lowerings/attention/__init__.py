"""Lowerings of attention and of the KV cache."""
