"""Rules for latent attention, and for gates that read its queries."""

from __future__ import annotations

from collections.abc import Iterator

from archc.archspec.checking.fault import Fault
from archc.archspec.checking.norm_rules import norm_faults
from archc.archspec.vocabulary import (
    Alibi,
    Attention,
    BlockRope,
    Disentangled,
    LatentAttention,
    NoNorm,
    Position,
    RelativeBuckets,
)


def latent_faults(attention: LatentAttention, position: Position) -> Iterator[Fault]:
    """Yield the faults of latent attention."""
    yield from norm_faults(attention.norm, "attention.norm")
    if attention.query_latent is None and attention.queries == "both":
        yield "attention.queries", "queries are projected from the residual stream", "set `query_latent`"
    if attention.query_latent is None and attention.query_latent_scale is not None:
        yield "attention.query_latent_scale", "there is no latent of queries", "set `query_latent`"
    yield from norm_faults(attention.rope_norm, "attention.rope_norm")
    if not attention.rope_dim and not isinstance(attention.rope_norm, NoNorm):
        yield "attention.rope_norm", "no part of the keys rotates: `rope_dim` is 0", "remove the key"
    if isinstance(position, Alibi | BlockRope | RelativeBuckets | Disentangled):
        message = f"{position.kind} is not supported with latent attention"
        yield "position", message, "use rope, learned or none"


def gate_faults(attention: Attention) -> Iterator[Fault]:
    """Yield the fault of a gate on the queries' latent of attention without one."""
    gate = attention.gate
    if gate is not None and gate.source == "queries" and getattr(attention, "query_latent", None) is None:
        yield "attention.gate.source", "queries are projected from the input of the layer", "use layer"
