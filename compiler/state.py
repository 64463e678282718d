"""What a layer keeps between calls, by name: its kind, which the runtime obeys, and its tensor's type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from archspec import vocabulary as words
from compiler.tensors import TensorType

State = Mapping[str, Tensor]
"""A layer's state by name: what a component reads of it, and what it gives back; empty without a cache."""


@dataclass(frozen=True)
class StateType:
    """kv: grows by a slot a token, written in place. fixed: replaced by every call, zero before the first."""

    kind: Literal["kv", "fixed"]
    tensor: TensorType


def layer_state(layer: words.Layer, width: int, dtype: torch.dtype) -> dict[str, StateType]:
    """What one layer of a residual stream of that width keeps between calls."""
    attention = layer.attention
    if isinstance(attention, words.LatentAttention):
        # One key/value head that all query heads share: the latent, and after it the rotating part of the key.
        stored = attention.latent + attention.rope_dim
        return {"latent": StateType("kv", TensorType(dtype, ("batch", 1, "capacity", stored)))}
    cache = StateType("kv", TensorType(dtype, ("batch", attention.kv_heads, "capacity", attention.head_dim)))
    states = {"key": cache, "value": cache}
    if attention.filter is not None:
        # The last input of each of the two convolutions.
        states["filter.input"] = StateType("fixed", TensorType(dtype, ("batch", 1, width)))
        states["filter.inner"] = StateType("fixed", TensorType(dtype, ("batch", 1, attention.filter.width)))
    return states
