"""Lowerings of `archc.Experts`, the routed experts of a mixture."""
