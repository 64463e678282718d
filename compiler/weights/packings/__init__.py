"""Packings: checkpoints whose weights are stored quantized, widened to float while they are read."""
