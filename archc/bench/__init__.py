"""Measurements of a plan's speed and memory next to limits of the machine; free of torch."""
