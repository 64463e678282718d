"""Conditional memory: tables of n-grams of tokens."""
