"""Combinations that no key shows by itself: values that are right one by one and make no sense together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archspec.errors import shown
from archspec.vocabulary import Alibi, DynamicScaling, Layer, Learned, Llama3Scaling, MlmHead, NoNorm, NoPooler, Rope

Fault = tuple[str, str, str]  # path of the key, what is wrong, what to do


def check_rules(model: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults of a bound model, given as the fields of a BoundSpec; each once, at the first layer that has it."""
    seen: set[str] = set()
    known: set[int] = set()
    for index, layer in enumerate(model["layers"]):
        if id(layer) in known:
            continue
        known.add(id(layer))
        for path, message, hint in _layer_faults(layer, model):
            if path not in seen:
                seen.add(path)
                yield path, f"{message} (layer {index})" if index else message, hint
    encoder = model["topology"] == "encoder"
    if not encoder and not isinstance(model["pooler"], NoPooler):
        yield "pooler", "a pooler reads the first token, which in a decoder sees no other", "use `topology: encoder`"
    if not encoder and isinstance(model["head"], MlmHead):
        yield "head", "a masked-language-model head on a decoder", "use `topology: encoder`, or `kind: lm`"
    learned = [isinstance(layer.position, Learned) for layer in model["layers"]]
    if any(learned) and (not all(learned) or len({layer.position for layer in model["layers"]}) > 1):
        yield "position", "learned positions are added once, to the embedding; they cannot differ by layer", ""


def _layer_faults(layer: Layer, model: Mapping[str, Any]) -> Iterator[Fault]:
    attention, norm = layer.attention, layer.norm
    if attention.heads % attention.kv_heads:
        yield "attention.kv_heads", f"{attention.heads} heads cannot share {attention.kv_heads} kv_heads evenly", ""
    if not isinstance(norm, NoNorm):
        if norm.shared and layer.residual == "sequential":
            hint = "set `layer.residual: parallel`, or drop it"
            yield "layer.norm.shared", "one norm for both branches has no meaning with a sequential residual", hint
        if norm.placement != "pre" and layer.residual == "parallel":
            message = f"placement {shown(norm.placement)} with a parallel residual; no checkpoint we know has it"
            yield "layer.norm.placement", message, "use pre"
    if model["topology"] == "encoder":
        if attention.window is not None:
            yield "attention.window", "a causal sliding window in an encoder, which sees both ways", "drop it"
        if isinstance(layer.position, Alibi):
            yield "position", "alibi is relative only under a causal mask, which an encoder has not", ""
    if isinstance(layer.position, Rope):
        yield from _rope_faults(layer.position, attention.head_dim)
    if isinstance(layer.position, Learned) and (layer.position.size or 0) < model["context"]:
        message = f"a table of {layer.position.size} positions for a context of {model['context']} tokens"
        yield "position.size", message, "make it as large as `context`, or leave it out"


def _rope_faults(rope: Rope, head_dim: int) -> Iterator[Fault]:
    rotary = int(head_dim * rope.fraction)
    path = "position.fraction" if rope.fraction < 1 else "attention.head_dim"
    if rotary < 2 or rotary % 2:
        of = f" ({rope.fraction:g} of head_dim {head_dim})" if rope.fraction < 1 else ""
        yield path, f"{rotary} dimensions of a head would rotate{of}; they rotate in pairs", ""
    elif rotary == 2 and isinstance(rope.scaling, DynamicScaling):
        yield "position.scaling", "dynamic scaling needs more than 2 rotating dimensions: its exponent is d/(d−2)", ""
    if isinstance(rope.scaling, Llama3Scaling) and rope.scaling.low_freq_factor >= rope.scaling.high_freq_factor:
        low, high = rope.scaling.low_freq_factor, rope.scaling.high_freq_factor
        yield "position.scaling", f"low_freq_factor {low:g} must be less than high_freq_factor {high:g}", ""
