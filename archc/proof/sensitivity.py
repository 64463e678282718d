"""Mutations of a bound spec: every number and every choice is changed, and the outputs must change with it.

A reference whose outputs are the same with a wrong epsilon is no evidence for the right one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from archc.archspec import BoundSpec
from archc.archspec.vocabulary import (
    Compression,
    Disentangled,
    Layer,
    NoNorm,
    OutputGate,
    RgLru,
    Rope,
    Router,
    WeightedBlockPool,
    kv_sources,
)
from archc.compiler.build import load_torch, open_slots
from archc.compiler.modules.model import meta_model
from archc.proof.built import Built
from archc.proof.checks import TOLERANCE, difference, inputs_of, reference_outputs, torch_outputs

# Switches and integers that change the computation and not the set of weights.
SWITCHES = {"unit_offset", "scaled", "truncate", "renormalize", "reverse", "scales_values", "chunked"}
LENGTHS = {
    "window": 1,
    "original_max_position_embeddings": 40,
    "per_token": 1,
    "chosen": 1,
    "max_distance": 3,
    "first": 1,
    "keys": 1,
    "block": 1,
    "blocks": 1,
    "last": 1,
}
# Factors for numbers that are rounded, or whose likely mistake is another default: a small change would not show.
FACTORS = {"eps": 0.01, "beta_fast": 3.0, "beta_slow": 3.0}
CHOICES: dict[str, list[Any]] = {
    "activation": ["silu", "relu", "gelu", "gelu_tanh", "sigmoid", "softplus"],
    "order": ["before", "after"],
    "pairing": ["half", "interleaved"],
    "rounding": ["none", "bfloat16"],
    "score": ["softmax", "sigmoid", "sqrtsoftplus"],
    "over": ["all", "chosen"],
    "by": ["max", "top-2"],
    "layout": ["interleaved", "halves"],
    "spacing": ["half-open", "closed"],
    "weighs": ["input", "output"],
    "norm_of": ["sum", "tokens"],
    "occurrence": ["last", "first"],
    "norm_order": ["before", "after"],
}
ALONE = {"quick_gelu"}  # replaced by others, and too near to gelu to replace one
LEARNED = {"xielu"}  # has weights, which no other activation reads


MARGIN = 5 * TOLERANCE
SHAPES = {"fraction"}
_PAIRINGS = tuple(f".indexer.pairing = {pairing}" for pairing in CHOICES["pairing"])


def changed(name: str, value: Any) -> list[Any]:
    """Return other values of a field that are plausible mistakes."""
    match value:
        case bool():
            return [not value] if name in SWITCHES else []
        case int():
            return [value + LENGTHS[name]] if name in LENGTHS else []
        case float():
            return [] if name in SHAPES or value == 0 else [value * FACTORS.get(name, 1.3)]
        case str() if value in (*CHOICES.get(name, ()), *ALONE) and value not in LEARNED:
            return [choice for choice in CHOICES[name] if choice != value]
    return []


def _literals(annotation: Any) -> set[Any]:
    """Return the choices in an annotation."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return set().union(*map(_literals, get_args(annotation)))


def _is_same(router: Router, name: str) -> bool:
    """Return whether a change has no effect: a softmax over the chosen is the one over all, normalized again.

    Other scores read one logit each, and without further terms the highest logits have the highest scores.
    """
    if router.selection == "tokens":
        return name == "over"
    if router.score == "sparsemixer":
        return name == "over"
    if router.score in ("sigmoid", "sqrtsoftplus"):
        return name == "over" and not router.selection_bias and router.groups is None
    return (name == "over" and router.renormalize) or (name in ("over", "renormalize") and router.over == "chosen")


def variations(word: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield a word with one field changed at a time, each with the field's path."""
    for name in type(word).model_fields:
        value = getattr(word, name)
        if name == "unit_offset" and not getattr(word, "affine", True):
            continue  # a norm without weights has nothing to offset
        if isinstance(word, Router) and _is_same(word, name):
            continue
        if name == "activation" and getattr(word, "beta", None):
            continue  # beta is a parameter of silu
        if name == "blocks" and isinstance(word, RgLru):
            continue  # shapes of weights
        if name == "block" and isinstance(getattr(word, "pool", None), WeightedBlockPool):
            continue  # a weight for each place in a block
        if name == "per_token" and word.router.selection == "tokens":
            continue  # the width of a table
        if name == "block" and isinstance(word, Compression):
            continue  # the rows of a weight
        if name == "norm" and getattr(word, "latents_of", None) is not None and word.query_latent is None:
            continue  # no latent of the layer's own
        if name == "jitter" and word.score != "sparsemixer":
            continue
        if name == "chunked" and word.window is None:
            continue
        if name == "norm_of" and value == "sum":
            continue  # without a norm, or with tokens alone, the two are equal
        if name == "rate_scale" and word.update == "add":
            continue  # only the delta rule has a rate
        if name == "order" and not isinstance(word, OutputGate):
            continue  # without positions, or over the whole projection, a norm has one order
        if name == "scales_values" and word.over == "channels":
            continue  # values have one step size by head
        if isinstance(value, BaseModel):
            for where, inner in variations(value, f"{path}.{name}"):
                if isinstance(inner, OutputGate) and where.startswith(f"{path}.gate.order") and word.norm == NoNorm():
                    continue  # without a norm, the gate has one order
                yield where, word.model_copy(update={name: inner})
        else:
            choices = _literals(type(word).model_fields[name].annotation)
            for other in (other for other in changed(name, value) if not choices or other in choices):
                yield f"{path}.{name} = {other}", word.model_copy(update={name: other})


def wrong_specs(spec: BoundSpec) -> Iterator[tuple[str, BoundSpec]]:
    """Yield the spec with one field changed, for each field; equal layers change together."""
    if spec.encoder is not None:
        for where, encoder in wrong_specs(spec.encoder):
            yield f"encoder.{where}", replace(spec, encoder=encoder)
    for section in ("embedding", "final_norm", "head", "pooler"):
        for where, word in variations(getattr(spec, section), section):
            yield where, replace(spec, **{section: word})
    for layer in dict.fromkeys(spec.layers):
        for where, word in variations(layer, f"layers[{spec.layers.index(layer)}]"):
            if where.endswith(_PAIRINGS) and not isinstance(layer.position, Rope):
                continue  # nothing rotates
            layers = tuple(word if other == layer else other for other in spec.layers)
            if None in kv_sources(layers).values():  # a reader agrees with its source
                layers = tuple(_alike(other, layer, word) for other in spec.layers)
            if isinstance(word.position, Disentangled):  # all layers share one table
                layers = tuple(other.model_copy(update={"position": word.position}) for other in layers)
            if getattr(word.position, "learned", False):  # layers share the learned frequencies
                layers = tuple(_moved(other, layer, word) for other in layers)
            yield where, replace(spec, layers=layers)


def _moved(other: Layer, layer: Layer, word: Layer) -> Layer:
    """Return a layer with the position of `word`, if it has that of `layer`."""
    return other.model_copy(update={"position": word.position}) if other.position == layer.position else other


def _alike(other: Layer, layer: Layer, word: Layer) -> Layer:
    """Return a layer with the window and position of `word`, if it has those of `layer`."""
    if other == layer:
        return word
    if other.position != layer.position or _window(other) != _window(layer):
        return other
    assert other.attention is not None
    attention = other.attention.model_copy(update={"window": None} | _window(word))
    return other.model_copy(update={"attention": attention, "position": word.position})


def _window(layer: Layer) -> dict[str, Any]:
    """Return the keys of a layer's window."""
    return {key: value for key in ("window", "chunked") if (value := getattr(layer.attention, key, None)) is not None}


def weak_fields(built: Built) -> dict[str, float]:
    """Return the fields whose change does not show in the outputs, each with the largest difference that it made."""
    ids, types, source = inputs_of(built)
    reference = reference_outputs(built, ids, types, source)
    weak = {}
    for where, spec in wrong_specs(built.bound):
        model = meta_model(spec)
        module = load_torch(model, open_slots(spec, model, built.checkpoint, None))
        outputs = torch_outputs(module, ids, types, source)
        gap = max(difference(outputs[role], reference[role]) for role in reference)
        if gap < MARGIN:
            weak[where] = gap
    return weak
