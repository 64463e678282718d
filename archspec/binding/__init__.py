"""Binding a checked spec to a config: every size becomes a number, every layer a tree of words."""
