"""The PyTorch modules of a bound spec."""
