"""Rules for sparse indexers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archc.archspec.checking.fault import Fault
from archc.archspec.checking.norm_rules import norm_faults
from archc.archspec.vocabulary import (
    Attention,
    BlockIndexer,
    EarlierIndexer,
    KeyIndexer,
    LatentAttention,
    Layer,
    LearnedLogScale,
    PooledBlockIndexer,
    Position,
    ProportionalScaling,
    Rope,
    indexer_sources,
)

_PATH = "attention.indexer"


def indexer_faults(attention: Attention, position: Position) -> Iterator[Fault]:
    """Yield the faults of a layer's indexer; nothing without one."""
    indexer = attention.indexer
    if indexer is None:
        return
    if getattr(attention, "window", None) is not None:
        yield _PATH, "an indexer selects from all keys and is not supported with a window", "remove one of them"
    if position.kind not in ("rope", "learned", "sinusoidal", "none"):
        message = f"{position.kind} is not supported with an indexer"
        yield "position", message, "use rope, learned, sinusoidal or none"
    if isinstance(indexer, EarlierIndexer):
        return
    yield from norm_faults(indexer.norm, f"{_PATH}.norm")
    if isinstance(indexer, KeyIndexer):
        yield from norm_faults(indexer.query_norm, f"{_PATH}.query_norm")
        if indexer.query_scale and not isinstance(attention.query_scale, LearnedLogScale):
            message = "the queries of the attention have no learned factors"
            yield f"{_PATH}.query_scale", message, "set `attention.query_scale: learned-log`"
    elif isinstance(indexer, PooledBlockIndexer):
        yield from norm_faults(indexer.head_norm, f"{_PATH}.head_norm")
    elif isinstance(indexer, BlockIndexer):
        yield from _block_faults(indexer, attention)
    rotary = rotating_dims(position, attention)
    if rotary > indexer.head_dim:
        message = f"{rotary} rotating dimensions in a head of {indexer.head_dim}"
        yield f"{_PATH}.head_dim", message, "use a wider head"


def rotating_dims(position: Position, attention: Attention) -> int:
    """Return the number of dims of a head that a rotary embedding rotates; 0 for other positions."""
    if not isinstance(position, Rope):
        return 0
    fraction = 1.0 if isinstance(position.scaling, ProportionalScaling) else position.fraction
    return position.dim if position.dim is not None else int(attention.rotating_dim * fraction)


def _block_faults(indexer: BlockIndexer, attention: Attention) -> Iterator[Fault]:
    if isinstance(attention, LatentAttention):
        message = "a selection for each group of heads is not supported with latent attention"
        yield f"{_PATH}.kind", message, "use `kind: keys`"
    if attention.heads % indexer.heads:
        message = f"{attention.heads} heads of attention are not a multiple of {indexer.heads}"
        yield f"{_PATH}.heads", message, "use a divisor of `attention.heads`"
    if indexer.last > indexer.blocks:
        yield f"{_PATH}.last", f"{indexer.last} of {indexer.blocks} blocks", "use fewer"


def earlier_indexer_faults(layers: Sequence[Layer]) -> Iterator[Fault]:
    """Yield the first layer that reads a selection of keys which no earlier layer has."""
    for index, source in indexer_sources(layers).items():
        if source is None:
            message = f"no layer before layer {index} has an indexer of its own"
            yield f"{_PATH}.kind", message, "use `kind: keys`, or add one to an earlier layer"
            return
