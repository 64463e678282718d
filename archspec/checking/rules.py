"""Combinations that no key shows by itself: values that are right one by one and make no sense together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from archc.archspec.checking.layer_rules import Fault, layer_faults, norm_faults
from archc.archspec.vocabulary import (
    BlockRope,
    DeltaRule,
    EmbeddingProjection,
    GiveValues,
    Layer,
    Learned,
    MlmHead,
    NoPooler,
    RelativeBuckets,
    Sinusoidal,
    TakeValues,
)


def check_rules(model: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults of a bound model, given as the fields of a BoundSpec; each once, at the first layer that has it."""
    seen: set[str] = set()
    known: set[int] = set()
    for index, layer in enumerate(model["layers"]):
        if id(layer) in known:
            continue
        known.add(id(layer))
        for path, message, hint in layer_faults(layer, model):
            if path not in seen:
                seen.add(path)
                yield path, f"{message} (layer {index})" if index else message, hint
    yield from _sharing_faults(model["layers"])
    yield from norm_faults(model["embedding"].norm, "embedding.norm")
    if model["embedding"].table_width is None and model["embedding"].projection != EmbeddingProjection():
        hint = "give `table_width`, or drop it"
        yield "embedding.projection", "a token table as wide as the residual stream needs no projection", hint
    yield from norm_faults(model["final_norm"], "final_norm")
    if isinstance(model["head"], MlmHead):
        yield from norm_faults(model["head"].norm, "head.norm")
    yield from _encoder_faults(model)
    encoder = model["topology"] == "encoder"
    if not encoder and not isinstance(model["pooler"], NoPooler):
        yield "pooler", "a pooler reads the first token, which in a decoder sees no other", "use `topology: encoder`"
    if not encoder and isinstance(model["head"], MlmHead):
        yield "head", "a masked-language-model head on a decoder", "use `topology: encoder`, or `kind: lm`"
    blocks = [isinstance(layer.position, BlockRope) for layer in model["layers"]]
    if any(blocks) and model["prefix"] is None:
        yield "position", "block-rope without a prefix: nothing says where the written block begins", "add `prefix:`"
    if model["prefix"] is not None and model["topology"] != "decoder":
        yield "prefix", "an encoder reads every prompt both ways", "drop it"
    yield from _value_faults(model["layers"])
    for kind, name in ((Learned, "learned"), (Sinusoidal, "sinusoidal")):
        added = [isinstance(layer.position, kind) for layer in model["layers"]]
        if any(added) and (not all(added) or len({layer.position for layer in model["layers"]}) > 1):
            yield "position", f"{name} positions are added once, to the embedding; they cannot differ by layer", ""
    if isinstance(model["layers"][0].position, Sinusoidal) and model["embedding"].width % 2:
        yield "embedding.width", "sinusoidal positions are pairs of a sine and a cosine", "make it even"
    shared = {
        (layer.position, layer.attention.heads)
        for layer in model["layers"]
        if layer.attention is not None
        and isinstance(layer.position, RelativeBuckets)
        and layer.position.table == "shared"
    }
    if len(shared) > 1:
        yield "position.table", "layers with other buckets or heads cannot share a table", "use `table: per-layer`"


def _encoder_faults(model: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong with an encoder-decoder's encoder, or with there being one."""
    encoder, crossed = model["encoder"], any(layer.cross_attention is not None for layer in model["layers"])
    if model["topology"] != "encoder-decoder":
        for path, given in (("encoder", encoder is not None), ("cross_attention", crossed)):
            if given:
                yield path, f"has no meaning in a model that is {model['topology']} alone", _BOTH
        return
    if encoder is None:
        yield "encoder", "an encoder-decoder without an encoder", "leave it out, and it is like the decoder"
        return
    if any(layer.cross_attention is None for layer in model["layers"]):
        message = "a decoder's layer that does not attend to the encoder; no checkpoint we know has it"
        yield "cross_attention", message, "leave it out, and it is like `attention`"
    for path, message, hint in check_rules(encoder):
        yield f"encoder.{path}", message, hint
    ours, theirs = model["embedding"], encoder["embedding"]
    for key in ("vocab", "width", "table_width"):
        if model["ties_encoder"] and getattr(ours, key) != getattr(theirs, key):
            message = (
                f"{key} is {getattr(theirs, key)}, but {getattr(ours, key)} in the decoder, whose tokens these are"
            )
            yield f"encoder.embedding.{key}", message, "set `encoder.tie: false`"


_BOTH = "set `topology: encoder-decoder`, or drop it"


def weight_sets(layers: Sequence[Layer]) -> tuple[int, ...]:
    """The number of each layer's set of weights: what it says, or its own place."""
    return tuple(index if layer.weights is None else layer.weights for index, layer in enumerate(layers))


def _sharing_faults(layers: Sequence[Layer]) -> Iterator[Fault]:
    first: dict[int, int] = {}
    for index, number in enumerate(weight_sets(layers)):
        other = first.setdefault(number, index)
        if other < index and layers[other].computation != layers[index].computation:
            message = f"layers {other} and {index} share weights and are not alike"
            yield "layer.weights", message, "give them the same sections, or sets of their own"
            return


def _value_faults(layers: Sequence[Layer]) -> Iterator[Fault]:
    """Values are given before they are taken, and for somebody."""
    path, giver, used = "recurrence.value_residual", None, True
    for index, layer in enumerate(layers):
        recurrence = layer.recurrence
        if not isinstance(recurrence, DeltaRule):
            continue
        width = recurrence.heads * recurrence.head_dim
        if isinstance(recurrence.value_residual, GiveValues):
            if not used:
                break
            giver, used = width, False
        elif isinstance(recurrence.value_residual, TakeValues):
            if giver != width:
                of = "no layer before it gives any" if giver is None else f"the layer before it gives {giver}"
                yield path, f"layer {index} takes values of {width} channels, and {of}", "let one give its own"
                return
            used = True
    if not used:
        yield path, "values are given and no later layer takes them", "drop it, or let a later layer take"
