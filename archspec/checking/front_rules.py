"""Rules for a block of attention and MLP in front of a recurrence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archc.archspec.checking.fault import Fault, key_faults
from archc.archspec.vocabulary import GroupedQueryAttention, Layer, LinearMlp, NoNorm, PlainMlp, front_sets
from archc.archspec.vocabulary.mlp import GatedMlp

# Keys of attention whose components read a vector of the width of the residual stream.
_OF_STREAM = ("filter", "indexer", "compression", "span_convolution", "gate")


def front_faults(layer: Layer) -> Iterator[Fault]:
    """Yield the faults of a layer with a front block."""
    attention, norm = layer.attention, layer.norm
    if not isinstance(attention, GroupedQueryAttention) or layer.recurrence is None:
        yield (
            "layer.front",
            "a front block is attention in front of a recurrence",
            "add both sections, or remove the key",
        )
        return
    if not isinstance(layer.mlp, PlainMlp | GatedMlp | LinearMlp):
        yield "layer.front", "a front block has a dense MLP", "add `mlp:` of kind gated, plain or linear"
    if isinstance(norm, NoNorm) or norm.placement != "pre" or norm.branches != "both" or norm.gate is not None:
        yield "layer.front", "the norms of a front block are on the inputs", "use `layer.norm: {placement: pre}`"
    is_set = {
        "mixers": layer.mixers != "one",
        "residual": layer.residual != "sequential",
        "laurel": layer.laurel is not None,
        "streams": layer.streams is not None,
        "skip.source": layer.skip.source != "input",
    }
    yield from key_faults("layer", is_set, "the key is not supported with a front block", "remove it")
    of_stream = {key: getattr(attention, key) is not None for key in _OF_STREAM}
    yield from key_faults("attention", of_stream, "the key is not supported in a front block", "remove it")
    if layer.cross_attention is not None:
        yield "cross_attention", "the section is not supported with a front block", "remove it"


def front_set_faults(layers: Sequence[Layer]) -> Iterator[Fault]:
    """Yield the first pair of layers that share a front block and have different sections in it."""
    first: dict[int, int] = {}
    for index, (number, layer) in enumerate(zip(front_sets(layers), layers, strict=True)):
        if layer.front is None:
            continue
        other = first.setdefault(number, index)
        sections = [(each.attention, each.mlp, each.position, each.norm) for each in (layers[other], layer)]
        if sections[0] != sections[1]:
            message = f"layers {other} and {index} share a front block but differ in its sections"
            yield "layer.front.weights", message, "use the same sections, or separate weight sets"
            return
