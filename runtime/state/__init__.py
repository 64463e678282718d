"""Model state between calls: KV caches, ring buffers, recurrent state, and the encoder's keys and values."""
