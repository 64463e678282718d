"""Checks of a spec against the vocabulary, before any size is known: keys, types, expressions, combinations."""
