"""Checkpoints: lazy reading, where to find them, and the table that maps their names to the model's slots."""
