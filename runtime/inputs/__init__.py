"""Inputs of a call by role: validated prompts, positions, masks and slot indices, and empty arrays for outputs."""
