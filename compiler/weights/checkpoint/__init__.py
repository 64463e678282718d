"""Checkpoints: finding and reading them, and mapping their tensors to the slots of a model."""
