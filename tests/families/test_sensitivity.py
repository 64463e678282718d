"""Would the checks notice? Every number and every choice of a bound spec is changed, and the outputs must move.

A reference that cannot tell a wrong epsilon from the right one proves nothing about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from archc.archspec import BoundSpec
from archc.archspec.vocabulary import Router
from archc.compiler.build import load_torch, open_slots
from archc.compiler.modules.model import meta_model
from tests.families.built import Built
from tests.families.checks import TOLERANCE, difference, expected, inputs_of, torch_outputs
from tests.families.test_families import built, every_case

__all__ = ["built"]

# Switches and whole numbers that change what is computed and not which weights there are.
SWITCHES = {"unit_offset", "scaled", "truncate", "renormalize"}
LENGTHS = {"window": 1, "original_max_position_embeddings": 40, "per_token": 1, "chosen": 1, "max_distance": 3}
# Numbers that are rounded, or whose default is the likely mistake: a small change would not show, or not be likely.
FACTORS = {"eps": 0.01, "beta_fast": 3.0, "beta_slow": 3.0}
CHOICES: dict[str, list[Any]] = {
    "activation": ["silu", "relu", "gelu", "gelu_tanh"],
    "pairing": ["half", "interleaved"],
    "rounding": ["none", "bfloat16"],
    "score": ["softmax", "sigmoid"],
    "over": ["all", "chosen"],
    "by": ["max", "top-2"],
    "layout": ["interleaved", "halves"],
}
LEARNED = {"xielu"}  # has weights of its own, which no other choice would read


MARGIN = 5 * TOLERANCE
SHAPES = {"fraction"}


def changed(name: str, value: Any) -> list[Any]:
    """Other values of a field, near enough to be a plausible mistake."""
    match value:
        case bool():
            return [not value] if name in SWITCHES else []
        case int():
            return [value + LENGTHS[name]] if name in LENGTHS else []
        case float():
            return [] if name in SHAPES else [value * FACTORS.get(name, 1.3)]
        case str() if value in CHOICES.get(name, ()) and value not in LEARNED:
            return [choice for choice in CHOICES[name] if choice != value]
    return []


def _is_same(router: Router, name: str) -> bool:
    """Whether a change changes nothing: a softmax over the chosen is the one over all, renormalised."""
    return (name == "over" and router.renormalize) or (name in ("over", "renormalize") and router.over == "chosen")


def variations(word: Any, path: str) -> Iterator[tuple[str, Any]]:
    """A word with one field changed at a time, each with the field's path."""
    for name in type(word).model_fields:
        value = getattr(word, name)
        if name == "unit_offset" and not getattr(word, "affine", True):
            continue  # a norm without weights has nothing to offset
        if isinstance(word, Router) and word.score == "softmax" and _is_same(word, name):
            continue
        if name == "activation" and getattr(word, "beta", None):
            continue  # a beta means silu
        if isinstance(value, BaseModel):
            for where, inner in variations(value, f"{path}.{name}"):
                yield where, word.model_copy(update={name: inner})
        else:
            for other in changed(name, value):
                yield f"{path}.{name} = {other}", word.model_copy(update={name: other})


def wrong_specs(spec: BoundSpec) -> Iterator[tuple[str, BoundSpec]]:
    """The spec with one thing wrong, for each of its things; in layers, the same thing wrong in all equal ones."""
    if spec.encoder is not None:
        for where, encoder in wrong_specs(spec.encoder):
            yield f"encoder.{where}", replace(spec, encoder=encoder)
    for section in ("embedding", "final_norm", "head"):
        for where, word in variations(getattr(spec, section), section):
            yield where, replace(spec, **{section: word})
    for layer in dict.fromkeys(spec.layers):
        for where, word in variations(layer, f"layers[{spec.layers.index(layer)}]"):
            yield where, replace(spec, layers=tuple(word if other == layer else other for other in spec.layers))


@every_case
def test_every_mistake_shows(built: Built) -> None:
    ids, types, source = inputs_of(built)
    wanted = expected(built, ids, types, source)
    weak = {}
    for where, spec in wrong_specs(built.bound):
        model = meta_model(spec)
        module = load_torch(model, open_slots(spec, model, built.checkpoint, None))
        got = torch_outputs(module, ids, types, source)
        gap = max(difference(got[role], wanted[role]) for role in wanted)
        if gap < MARGIN:
            weak[where] = gap
    assert weak == {}
