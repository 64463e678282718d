"""Rules for grouped-query attention: its heads, its latents, and the source of its values."""

from __future__ import annotations

from collections.abc import Iterator

from archc.archspec.checking.fault import Fault, key_faults
from archc.archspec.checking.indexer_rules import rotating_dims
from archc.archspec.checking.norm_rules import norm_faults, qk_norm_faults
from archc.archspec.vocabulary import (
    BlockRope,
    Compression,
    GroupedQueryAttention,
    HeadMixture,
    LearnedLogScale,
    NoNorm,
    Position,
)

USE_DIVISOR = "use a divisor of `heads`"


def uneven_heads(heads: int, kv_heads: int) -> str:
    """Return the message of query heads that cannot share key/value heads equally."""
    return f"{heads} heads are not a multiple of {kv_heads} kv_heads"


def grouped_faults(attention: GroupedQueryAttention, position: Position) -> Iterator[Fault]:
    """Yield the faults of grouped-query attention."""
    if attention.heads % attention.kv_heads:
        yield "attention.kv_heads", uneven_heads(attention.heads, attention.kv_heads), USE_DIVISOR
    if isinstance(position, BlockRope) and attention.head_dim % 4:
        message = f"head_dim {attention.head_dim}: each half of a head rotates in pairs"
        yield "attention.head_dim", message, "use a multiple of 4"
    if attention.chunked and attention.window is None:
        message = "there is no window, the size of a chunk"
        yield "attention.chunked", message, "add `attention.window`, or remove the key"
    yield from norm_faults(attention.output_norm, "attention.output_norm")
    yield from qk_norm_faults(attention.qk_norm, "attention.qk_norm")
    if attention.key_norm is not None:
        yield from qk_norm_faults(attention.key_norm, "attention.key_norm")
    yield from norm_faults(attention.value_norm, "attention.value_norm")
    yield from _value_faults(attention)
    yield from _latent_faults(attention)
    if attention.mixture is not None:
        yield from _mixture_faults(attention, attention.mixture)
    if attention.dynamic_mask is not None:
        yield from _dynamic_mask_faults(attention, position)
    if attention.adapter is not None:
        other = {
            "query_latent": attention.query_latent is not None,
            "values": attention.values != "projection",
            "keys_values": attention.keys_values != "own",
        }
        yield from key_faults(
            "attention", other, "an adapter is on projections of the layer's input", "remove one of them"
        )
    if attention.compression is not None:
        yield from _compression_faults(attention, attention.compression, position)


def _mixture_faults(attention: GroupedQueryAttention, mixture: HeadMixture) -> Iterator[Fault]:
    """Yield the faults of a mixture of heads; other keys have numbers for each of `heads`."""
    if attention.heads > mixture.experts * attention.kv_heads:
        message = f"{attention.heads} heads of a token, but {mixture.experts} experts of {attention.kv_heads} heads"
        yield "attention.mixture.experts", message, "use more experts, or fewer heads"
    is_set = {
        "gate": attention.gate is not None,
        "sinks": attention.sinks,
        "adapter": attention.adapter is not None,
        "differential": attention.differential is not None,
        "output_latent": attention.output_latent is not None,
        "span_convolution": attention.span_convolution is not None,
        "convolution": attention.convolution is not None,
        "compression": attention.compression is not None,
        "query_scale": isinstance(attention.query_scale, LearnedLogScale),
        "qk_norm": getattr(attention.qk_norm, "weights", "shared") == "per-head",
    }
    yield from key_faults("attention", is_set, "the key is not supported with a mixture of heads", "remove one of them")


def _dynamic_mask_faults(attention: GroupedQueryAttention, position: Position) -> Iterator[Fault]:
    """Yield the faults of a dynamic mask, whose biases are in a cache of their own, next to that of all keys."""
    is_set = {
        "window": attention.window is not None,
        "indexer": attention.indexer is not None,
        "compression": attention.compression is not None,
        "differential": attention.differential is not None,
        "keys_values": attention.keys_values != "own",
        "values": attention.values != "projection",
        "value_norm": not isinstance(attention.value_norm, NoNorm),
        "value_scale": attention.value_scale is not None,
    }
    yield from key_faults("attention", is_set, "the key is not supported with a dynamic mask", "remove one of them")
    if position.kind in ("alibi", "relative-buckets", "disentangled"):
        yield "position", f"{position.kind} is not supported with a dynamic mask", "use another kind"


def _value_faults(attention: GroupedQueryAttention) -> Iterator[Fault]:
    """Yield the faults of keys that values cannot have."""
    if attention.value_dim is not None and attention.values != "projection":
        yield "attention.value_dim", "the values are keys, whose width is head_dim", "remove the key"
    own = {
        "value_norm": not isinstance(attention.value_norm, NoNorm),
        "value_scale": attention.value_scale is not None,
    }
    if attention.keys_values == "earlier":
        others = {
            "values": attention.values != "projection",
            "key_norm": attention.key_norm is not None,
            "filter": attention.filter is not None,
        }
        yield from key_faults(
            "attention", own | others, "the layer reads the keys and values of an earlier layer", "remove the key"
        )
    elif attention.values == "rotated-keys":
        yield from key_faults(
            "attention", own, "the values are the keys themselves", "remove the key, or use `values: keys`"
        )


def _latent_faults(attention: GroupedQueryAttention) -> Iterator[Fault]:
    """Yield the faults of the latents of queries and of the output."""
    if attention.query_latent is not None:
        yield from norm_faults(attention.query_latent.norm, "attention.query_latent.norm")
        if attention.query_latent.width % attention.groups.q:
            message = f"{attention.query_latent.width} channels in {attention.groups.q} groups"
            yield "attention.groups.q", message, "use a divisor"
        if attention.span_convolution is not None:
            message = "heads of a convolution read queries of the layer's input"
            yield "attention.query_latent", message, "remove one of them"
    if attention.output_latent is not None and attention.heads % attention.output_latent.groups:
        message = f"{attention.heads} heads in {attention.output_latent.groups} groups"
        yield "attention.output_latent.groups", message, USE_DIVISOR


def _compression_faults(
    attention: GroupedQueryAttention, compression: Compression, position: Position
) -> Iterator[Fault]:
    """Yield the faults of compressed keys."""
    path = "attention.compression"
    yield from norm_faults(compression.norm, f"{path}.norm")
    is_set = {
        "indexer": attention.indexer is not None,
        "softcap": attention.softcap is not None,
        "filter": attention.filter is not None,
        "chunked": attention.chunked,
    }
    for key in (key for key, present in is_set.items() if present):
        yield f"attention.{key}", f"{key} is not supported with compressed keys", "remove one of them"
    if attention.values != "rotated-keys":
        yield path, "compressed keys are their own values", "set `attention.values: rotated-keys`"
    if attention.window is None:
        yield path, "without a window, queries attend to all keys anyway", "add `attention.window`"
    if position.kind not in ("rope", "learned", "sinusoidal", "none"):
        message = f"{position.kind} is not supported with compressed keys"
        yield "position", message, "use rope, learned, sinusoidal or none"
    if compression.indexer is not None:
        yield from norm_faults(compression.indexer.norm, f"{path}.indexer.norm")
        rotary = rotating_dims(position, attention)
        if rotary > compression.indexer.head_dim:
            message = f"{rotary} rotating dimensions in a head of {compression.indexer.head_dim}"
            yield f"{path}.indexer.head_dim", message, "use a wider head"
