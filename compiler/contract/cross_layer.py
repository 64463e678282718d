"""Tensors that a layer passes to later layers in addition to the residual stream."""

from __future__ import annotations

import torch

from archc.archspec import vocabulary as words
from archc.compiler.contract.types import TensorType

VALUES = "values"
"""The values of a delta rule, which later layers mix into their own (Peng et al. 2025, section 4.1)."""


def cross_layer_outputs(layer: words.Layer, dtype: torch.dtype) -> dict[str, TensorType]:
    """Return the tensors that a layer passes on, with their types."""
    match layer.recurrence:
        case words.DeltaRule(value_residual=words.ValueSource(), heads=heads, head_dim=width):
            return {VALUES: TensorType(dtype, ("batch", "seq", heads * width))}
    return {}


def cross_layer_inputs(layer: words.Layer) -> tuple[str, ...]:
    """Return the names of the tensors of earlier layers that a layer reads."""
    match layer.recurrence:
        case words.DeltaRule(value_residual=words.ValueMix()):
            return (VALUES,)
    return ()
