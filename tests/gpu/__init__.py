"""Checks that need a GPU: `python -m tests.gpu` runs all of them and prints a table.

pytest collects nothing here, so that a machine without a GPU has no test to skip.
"""
