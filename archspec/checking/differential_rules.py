"""Rules of differential attention."""

from __future__ import annotations

from collections.abc import Iterator

from archc.archspec.checking.fault import Fault
from archc.archspec.vocabulary import GroupedQueryAttention


def differential_faults(attention: GroupedQueryAttention) -> Iterator[Fault]:
    """Yield the faults of pairs of heads: their number, and keys of the heads that they do not support."""
    if attention.differential is None:
        return
    for key in ("heads", "kv_heads"):
        if getattr(attention, key) % 2:
            message = f"the heads of differential attention are pairs, not {getattr(attention, key)}"
            yield f"attention.{key}", message, "use an even number"
    is_set = {
        "gate": attention.gate is not None,
        "value_dim": attention.value_dim is not None,
        "values": attention.values == "rotated-keys",
        "convolution": attention.convolution is not None,
        "span_convolution": attention.span_convolution is not None,
        "keys_values": attention.keys_values == "earlier",
    }
    for key, value in is_set.items():
        if value:
            message = f"differential attention is not supported with `attention.{key}`"
            yield "attention.differential", message, "remove one of them"
