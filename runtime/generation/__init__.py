"""Autoregressive generation: sequences, the decode loop, sampling, stop conditions and results."""
