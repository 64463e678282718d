"""Modules that every architecture shares: linear, norm, embedding, head."""
