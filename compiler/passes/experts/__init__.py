"""Passes that expand mixtures of experts for a target."""
