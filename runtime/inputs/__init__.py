"""Inputs of a call: checked prompts, masks, positions and feeds."""
