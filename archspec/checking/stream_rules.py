"""Rules for several residual streams, a learned augmented residual and a memory that is added to the streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archc.archspec.checking.fault import Fault
from archc.archspec.checking.norm_rules import norm_faults
from archc.archspec.vocabulary import AltUp, GatedStreams, Layer, NoNorm, RmsNorm

# Keys of a layer that change the residual connection of a single stream, or read it.
_OTHER_CONNECTIONS = (
    "skip",
    "laurel",
    "embedding_branch",
    "convolution",
    "adapter",
    "adds_shortcut",
    "shortcut",
    "cross_attention",
)


def stream_faults(layer: Layer) -> Iterator[Fault]:
    """Yield the faults of several residual streams and of a learned augmented residual."""
    if layer.laurel is not None:
        yield from norm_faults(layer.laurel.norm, "layer.laurel.norm")
        is_post = getattr(layer.norm, "placement", "pre") == "post"
        if layer.residual == "parallel" or is_post or (layer.attention is None and layer.recurrence is None):
            message = "LAuReL requires a branch of a mixer, without a norm on the sum"
            yield "layer.laurel", message, "remove the key"
    streams = layer.streams
    if streams is None:
        return
    yield from norm_faults(streams.norm, "layer.streams.norm")
    if isinstance(streams, GatedStreams):
        yield from _weighted_norm_faults(streams.norm, "layer.streams.norm")
        if not isinstance(layer.norm, NoNorm):
            yield "layer.norm", "gated streams are normed where a branch reads them", "set `layer.norm: none`"
    if not isinstance(streams, AltUp):
        yield from _connection_faults(layer, streams.kind)
        return
    if streams.active >= streams.count:
        message = f"expected an index below {streams.count}, the number of streams, got {streams.active}"
        yield "layer.streams.active", message, "use a smaller one"
    if streams.scale and layer.embedding_branch is None:
        yield "layer.streams.scale", "the layer has no embedding branch", "remove the key"


def _connection_faults(layer: Layer, kind: str) -> Iterator[Fault]:
    """Yield the keys of other residual connections in a layer with hyper-connections or gated streams."""
    name_of_kind = "gated streams" if kind == "gated" else kind
    if layer.residual == "parallel" or getattr(layer.norm, "placement", "pre") == "post":
        path = "layer.residual" if layer.residual == "parallel" else "layer.norm.placement"
        yield path, f"{name_of_kind} require branches in sequence, without norms on the sums", "remove the key"
    defaults = Layer(norm=layer.norm, position=layer.position)
    for name in _OTHER_CONNECTIONS:
        if getattr(layer, name) != getattr(defaults, name):
            path = name if name in ("cross_attention", "shortcut") else f"layer.{name}"
            yield path, f"{name} is not supported with {name_of_kind}", "remove it"


def memory_faults(layer: Layer, model: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of a memory of n-grams; nothing without one."""
    memory = layer.ngram_memory
    if memory is None:
        return
    path = "layer.ngram_memory"
    yield from _weighted_norm_faults(memory.norm, f"{path}.norm")
    tables = (memory.order - 1) * memory.heads
    if memory.width % tables:
        message = f"a vector of {memory.width} numbers is not in equal parts from {tables} tables"
        yield f"{path}.width", message, f"use a multiple of {tables}"
    if memory.separator >= model["embedding"].vocab:
        message = f"token {memory.separator} of a vocabulary of {model['embedding'].vocab}"
        yield f"{path}.separator", message, "use a smaller id"
    if model["topology"] != "decoder":
        yield path, "a memory reads the tokens of a decoder", "use `topology: decoder`, or remove the key"


def _weighted_norm_faults(norm: RmsNorm, path: str) -> Iterator[Fault]:
    if not norm.affine:
        yield f"{path}.affine", "each stream has a weight of its own", "remove the key"
