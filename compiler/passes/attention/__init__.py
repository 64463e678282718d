"""Passes over attention nodes."""
