"""What a layer gives to later layers besides the residual stream, by name."""

from __future__ import annotations

import torch

from archc.archspec import vocabulary as words
from archc.compiler.contract.types import TensorType
from archc.compiler.modules.recurrent.delta_rule import VALUES


def given(layer: words.Layer, dtype: torch.dtype) -> dict[str, TensorType]:
    """What one layer gives, and the type of each."""
    match layer.recurrence:
        case words.DeltaRule(value_residual=words.ValueSource(), heads=heads, head_dim=width):
            return {VALUES: TensorType(dtype, ("batch", "seq", heads * width))}
    return {}


def taken(layer: words.Layer) -> tuple[str, ...]:
    """What one layer reads of what an earlier layer gave."""
    match layer.recurrence:
        case words.DeltaRule(value_residual=words.ValueMix()):
            return (VALUES,)
    return ()
