"""Passes over matrix products and their weights."""
