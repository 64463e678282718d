"""Stored formats of quantized matrices, one file each: the tensors of a format and how rows become them."""
