"""Modules that every architecture shares: linear, norm, activations, embedding, head, shifts."""
