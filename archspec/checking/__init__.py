"""Checking a spec against the vocabulary: types, expressions and rules, before any size is known."""
