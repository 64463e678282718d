"""Binding of a checked spec to a config: every size becomes a number, every layer a section of the vocabulary."""
