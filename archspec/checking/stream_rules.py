"""Rules for several residual streams and for a learned augmented residual."""

from __future__ import annotations

from collections.abc import Iterator

from archc.archspec.checking.norm_rules import norm_faults
from archc.archspec.vocabulary import HyperConnections, Layer

Fault = tuple[str, str, str]  # path of the key, message, hint

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
    if isinstance(streams, HyperConnections):
        yield from _hyper_connection_faults(layer)
        return
    if streams.active >= streams.count:
        message = f"expected an index below {streams.count}, the number of streams, got {streams.active}"
        yield "layer.streams.active", message, "use a smaller one"
    if streams.scale and layer.embedding_branch is None:
        yield "layer.streams.scale", "the layer has no embedding branch", "remove the key"


def _hyper_connection_faults(layer: Layer) -> Iterator[Fault]:
    """Yield the keys of other residual connections in a layer with hyper-connections."""
    if layer.residual == "parallel" or getattr(layer.norm, "placement", "pre") == "post":
        path = "layer.residual" if layer.residual == "parallel" else "layer.norm.placement"
        yield path, "hyper-connections require branches in sequence, without norms on the sums", "remove the key"
    defaults = Layer(norm=layer.norm, position=layer.position)
    for name in _OTHER_CONNECTIONS:
        if getattr(layer, name) != getattr(defaults, name):
            path = name if name in ("cross_attention", "shortcut") else f"layer.{name}"
            yield path, f"{name} is not supported with hyper-connections", "remove it"
