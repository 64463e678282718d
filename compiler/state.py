"""What a layer keeps between calls, by name: its kind, which the runtime obeys, and its tensor's type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from archspec import vocabulary as words
from compiler.tensors import TensorType

CROSS_KEY, CROSS_VALUE = "cross.key", "cross.value"

State = Mapping[str, Tensor]
"""A layer's state by name: what a component reads of it, and what it gives back; empty without a cache."""


@dataclass(frozen=True)
class StateType:
    """kv: grows by a slot a token, written in place. fixed: replaced by every call, zero before the first. cross: made
    of the source before the first call, and only read."""

    kind: Literal["kv", "fixed", "cross"]
    tensor: TensorType


def layer_state(layer: words.Layer, width: int, dtype: torch.dtype) -> dict[str, StateType]:
    """What one layer of a residual stream of that width keeps between calls."""
    attention = layer.attention
    cache = StateType("kv", TensorType(dtype, ("batch", attention.kv_heads, "capacity", attention.head_dim)))
    states = {"key": cache, "value": cache}
    if attention.filter is not None:
        # The last input of each of the two convolutions.
        states["filter.input"] = StateType("fixed", TensorType(dtype, ("batch", 1, width)))
        states["filter.inner"] = StateType("fixed", TensorType(dtype, ("batch", 1, attention.filter.width)))
    cross = layer.cross_attention
    if cross is not None:
        kept = StateType("cross", TensorType(dtype, ("batch", cross.kv_heads, "source", cross.head_dim)))
        states |= {CROSS_KEY: kept, CROSS_VALUE: kept}
    return states
