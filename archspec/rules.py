"""Combinations that no key shows by itself: values that are right one by one and make no sense together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archspec.errors import shown
from archspec.vocabulary import (
    Alibi,
    BlockRope,
    DynamicScaling,
    Layer,
    LayerNorm,
    Learned,
    Llama3Scaling,
    LongRopeScaling,
    MlmHead,
    NoNorm,
    NoPooler,
    PromptNtkScaling,
    QkNorm,
    RelativeBuckets,
    Rope,
    Sinusoidal,
)

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
    yield from _norm_faults(model["embedding"].norm, "embedding.norm")
    yield from _norm_faults(model["final_norm"], "final_norm")
    if isinstance(model["head"], MlmHead):
        yield from _norm_faults(model["head"].norm, "head.norm")
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
    for kind, name in ((Learned, "learned"), (Sinusoidal, "sinusoidal")):
        added = [isinstance(layer.position, kind) for layer in model["layers"]]
        if any(added) and (not all(added) or len({layer.position for layer in model["layers"]}) > 1):
            yield "position", f"{name} positions are added once, to the embedding; they cannot differ by layer", ""
    if isinstance(model["layers"][0].position, Sinusoidal) and model["embedding"].width % 2:
        yield "embedding.width", "sinusoidal positions are pairs of a sine and a cosine", "make it even"
    shared = {
        (layer.position, layer.attention.heads)
        for layer in model["layers"]
        if isinstance(layer.position, RelativeBuckets) and layer.position.table == "shared"
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
        if norm.shared and norm.branches != "both":
            yield "layer.norm.branches", "a shared norm is on both branches", "drop it"
    cross = layer.cross_attention
    if cross is not None:
        if cross.heads % cross.kv_heads:
            message = f"{cross.heads} heads cannot share {cross.kv_heads} kv_heads evenly"
            yield "cross_attention.kv_heads", message, ""
        if layer.residual == "parallel":
            message = "a parallel residual with cross-attention; no checkpoint we know has it"
            yield "layer.residual", message, "use sequential"
        yield from _qk_norm_faults(cross.qk_norm, "cross_attention.qk_norm")
    if layer.skip.source == "norm" and (isinstance(norm, NoNorm) or norm.placement not in ("pre", "sandwich")):
        yield "layer.skip.source", "no norm stands on a branch's input whose output could be carried", "use input"
    yield from _norm_faults(norm, "layer.norm")
    yield from _qk_norm_faults(attention.qk_norm, "attention.qk_norm")
    if model["topology"] == "encoder" and isinstance(layer.position, Alibi):
        yield "position", "alibi is relative only under a causal mask, which an encoder has not", ""
    if isinstance(layer.position, RelativeBuckets):
        yield from _bucket_faults(layer.position, model["topology"] == "encoder")
    if isinstance(layer.position, BlockRope) and attention.head_dim % 4:
        message = f"each half of a head of {attention.head_dim} rotates in pairs"
        yield "attention.head_dim", message, "make it a multiple of 4"
    if isinstance(layer.position, Rope):
        yield from _rope_faults(layer.position, attention.head_dim)
    if isinstance(layer.position, Learned) and (layer.position.size or 0) < model["context"]:
        message = f"a table of {layer.position.size} positions for a context of {model['context']} tokens"
        yield "position.size", message, "make it as large as `context`, or leave it out"


def _qk_norm_faults(stretch: QkNorm, path: str) -> Iterator[Fault]:
    yield from _norm_faults(stretch, path)
    if isinstance(stretch, NoNorm):
        return
    if stretch.over == "projection" and stretch.weights == "per-head":
        yield f"{path}.weights", "a norm over the whole projection has one weight", "drop it"
    if stretch.weights == "per-head" and isinstance(stretch, LayerNorm) and (stretch.bias or not stretch.affine):
        message = "a norm with a weight for each head has that weight and no bias"
        yield f"{path}.weights", message, "set `bias: false`, and leave `affine` out"


def _bucket_faults(position: RelativeBuckets, both_sides: bool) -> Iterator[Fault]:
    """Buckets that cannot be cut as the formula does: half of a side's are single distances."""
    if both_sides and (position.buckets % 2 or position.buckets < 4):
        message = f"{position.buckets} buckets for two sides"
        yield "position.buckets", message, "make it an even number of at least 4"
        return
    exact = position.buckets // (4 if both_sides else 2)
    if position.max_distance <= exact:
        message = f"{position.max_distance} is no farther than the {exact} distances that have a bucket each"
        yield "position.max_distance", message, ""


def _norm_faults(norm: object, path: str) -> Iterator[Fault]:
    if isinstance(norm, LayerNorm) and not norm.affine:
        if norm.bias:
            yield f"{path}.affine", "a norm without a weight has no bias either", "set `bias: false`"
        if norm.unit_offset:
            yield f"{path}.unit_offset", "a norm without a weight has nothing to offset", "drop it"


def _rope_faults(rope: Rope, head_dim: int) -> Iterator[Fault]:
    if rope.dim is not None and rope.fraction != 1:
        yield "position.dim", "dim and fraction both say how many dimensions rotate", "drop one of them"
        return
    rotary = rope.dim if rope.dim is not None else int(head_dim * rope.fraction)
    path = (
        "position.dim" if rope.dim is not None else "position.fraction" if rope.fraction < 1 else "attention.head_dim"
    )
    if rotary > head_dim:
        yield path, f"{rotary} dimensions of a head would rotate, and it has {head_dim}", ""
    elif rotary < 2 or rotary % 2:
        of = f" ({rope.fraction:g} of head_dim {head_dim})" if rope.fraction < 1 else ""
        yield path, f"{rotary} dimensions of a head would rotate{of}; they rotate in pairs", ""
    scaling = rope.scaling
    if rotary == 2 and isinstance(scaling, DynamicScaling | PromptNtkScaling):
        yield (
            "position.scaling",
            f"{scaling.kind} scaling needs more than 2 rotating dimensions: its exponent is d/(d−2)",
            "",
        )
    if isinstance(scaling, Llama3Scaling) and scaling.low_freq_factor >= scaling.high_freq_factor:
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        yield "position.scaling", f"low_freq_factor {low:g} must be less than high_freq_factor {high:g}", ""
    if isinstance(scaling, LongRopeScaling):
        for name, factors in (("long_factor", scaling.long_factor), ("short_factor", scaling.short_factor)):
            if len(factors) != rotary // 2:
                message = f"{len(factors)} factors for {rotary // 2} rotating pairs"
                yield f"position.scaling.{name}", message, "one for each"
        if scaling.factor is None and scaling.attention_factor is None:
            yield "position.scaling", "longrope without factor and attention_factor", "give one of them"
