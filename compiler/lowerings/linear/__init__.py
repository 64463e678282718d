"""Lowerings of `archc.Linear` and of lookups in tables: float, int8, int4, and behind DequantizeLinear."""
