"""Blocks of a bound spec: the parts of the figure in words and numbers, without coordinates."""
