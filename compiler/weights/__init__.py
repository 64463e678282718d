"""Weights: checkpoints, parameter slots, lazy tensors and stored formats."""
