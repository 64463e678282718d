"""What only a machine with a GPU can say: `python -m tests.gpu` there runs all of it and prints a table.

pytest collects nothing here, so that a machine without a GPU has no test to skip.
"""
