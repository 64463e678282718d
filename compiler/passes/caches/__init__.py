"""Passes over KV caches."""
