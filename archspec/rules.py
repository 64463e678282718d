"""Combinations that no key shows by itself: values that are right one by one and make no sense together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archspec.errors import shown
from archspec.vocabulary import (
    Alibi,
    BlockRope,
    DynamicScaling,
    GatedMlp,
    GroupedQueryAttention,
    LatentAttention,
    Layer,
    LayerNorm,
    Learned,
    Llama3Scaling,
    LongRopeScaling,
    MlmHead,
    MoeMlp,
    NoNorm,
    NoPooler,
    Position,
    PromptNtkScaling,
    Rope,
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
    encoder = model["topology"] == "encoder"
    if not encoder and not isinstance(model["pooler"], NoPooler):
        yield "pooler", "a pooler reads the first token, which in a decoder sees no other", "use `topology: encoder`"
    if not encoder and isinstance(model["head"], MlmHead):
        yield "head", "a masked-language-model head on a decoder", "use `topology: encoder`, or `kind: lm`"
    blocks = [isinstance(layer.position, BlockRope) for layer in model["layers"]]
    if any(blocks) and model["prefix"] is None:
        yield "position", "block-rope without a prefix: nothing says where the written block begins", "add `prefix:`"
    if model["prefix"] is not None and encoder:
        yield "prefix", "an encoder reads every prompt both ways", "drop it"
    learned = [isinstance(layer.position, Learned) for layer in model["layers"]]
    if any(learned) and (not all(learned) or len({layer.position for layer in model["layers"]}) > 1):
        yield "position", "learned positions are added once, to the embedding; they cannot differ by layer", ""


def _layer_faults(layer: Layer, model: Mapping[str, Any]) -> Iterator[Fault]:
    attention, norm = layer.attention, layer.norm
    if isinstance(attention, LatentAttention):
        yield from _latent_faults(attention, layer.position)
    else:
        yield from _grouped_faults(attention, layer.position)
    if not isinstance(norm, NoNorm):
        if norm.shared and layer.residual == "sequential":
            hint = "set `layer.residual: parallel`, or drop it"
            yield "layer.norm.shared", "one norm for both branches has no meaning with a sequential residual", hint
        if norm.placement != "pre" and layer.residual == "parallel":
            message = f"placement {shown(norm.placement)} with a parallel residual; no checkpoint we know has it"
            yield "layer.norm.placement", message, "use pre"
        if norm.shared and norm.branches != "both":
            yield "layer.norm.branches", "a shared norm is on both branches", "drop it"
    if layer.skip.source == "norm" and (isinstance(norm, NoNorm) or norm.placement not in ("pre", "sandwich")):
        yield "layer.skip.source", "no norm stands on a branch's input whose output could be carried", "use input"
    yield from _norm_faults(norm, "layer.norm")
    yield from _mlp_faults(layer.mlp, "mlp")
    if model["topology"] == "encoder" and isinstance(layer.position, Alibi):
        yield "position", "alibi is relative only under a causal mask, which an encoder has not", ""
    if isinstance(layer.position, Rope):
        width = "rope_dim" if isinstance(attention, LatentAttention) else "head_dim"
        yield from _rope_faults(layer.position, attention.rotating_dim, f"attention.{width}")
    if isinstance(layer.position, Learned) and (layer.position.size or 0) < model["context"]:
        message = f"a table of {layer.position.size} positions for a context of {model['context']} tokens"
        yield "position.size", message, "make it as large as `context`, or leave it out"


def _grouped_faults(attention: GroupedQueryAttention, position: Position) -> Iterator[Fault]:
    if attention.heads % attention.kv_heads:
        yield "attention.kv_heads", f"{attention.heads} heads cannot share {attention.kv_heads} kv_heads evenly", ""
    if isinstance(position, BlockRope) and attention.head_dim % 4:
        message = f"each half of a head of {attention.head_dim} rotates in pairs"
        yield "attention.head_dim", message, "make it a multiple of 4"
    yield from _norm_faults(attention.qk_norm, "attention.qk_norm")
    if not isinstance(attention.qk_norm, NoNorm):
        stretch = attention.qk_norm
        if stretch.over == "projection" and stretch.weights == "per-head":
            yield "attention.qk_norm.weights", "a norm over the whole projection has one weight", "drop it"
        if stretch.weights == "per-head" and isinstance(stretch, LayerNorm) and (stretch.bias or not stretch.affine):
            message = "a norm with a weight for each head has that weight and no bias"
            yield "attention.qk_norm.weights", message, "set `bias: false`, and leave `affine` out"


def _latent_faults(attention: LatentAttention, position: Position) -> Iterator[Fault]:
    yield from _norm_faults(attention.norm, "attention.norm")
    if isinstance(position, Alibi | BlockRope):
        message = f"{position.kind} with latent attention; no checkpoint we know has it"
        yield "position", message, "use rope, learned or none"


def _mlp_faults(mlp: object, path: str) -> Iterator[Fault]:
    if isinstance(mlp, GatedMlp) and mlp.beta is not None and mlp.activation != "silu":
        yield f"{path}.beta", f"beta is a factor inside silu, and the activation is {shown(mlp.activation)}", "drop it"
    if isinstance(mlp, MoeMlp):
        yield from _mlp_faults(mlp.expert, f"{path}.expert")
        yield from _mlp_faults(mlp.shared, f"{path}.shared")
        yield from _router_faults(mlp, path)
        if mlp.shared_gate and mlp.shared is None:
            yield f"{path}.shared_gate", "there is no shared expert to gate", f"add `{path}.shared`, or drop it"


def _router_faults(mlp: MoeMlp, path: str) -> Iterator[Fault]:
    router, groups = mlp.router, mlp.router.groups
    if mlp.per_token > mlp.experts:
        yield f"{path}.per_token", f"a token cannot use {mlp.per_token} of {mlp.experts} experts", ""
    if router.over == "chosen":
        if router.renormalize and router.score == "softmax":
            message = "a softmax over the chosen experts sums to one already"
            yield f"{path}.router.renormalize", message, "drop it"
        if router.selection_bias:
            message = "a selection bias is added to scores, which `over: chosen` makes after the choice"
            yield f"{path}.router.selection_bias", message, "use `over: all`"
        if groups is not None:
            message = "groups are chosen by scores, which `over: chosen` makes after the choice"
            yield f"{path}.router.groups", message, "use `over: all`"
    if groups is None:
        return
    if mlp.experts % groups.count:
        yield f"{path}.router.groups.count", f"{mlp.experts} experts do not form {groups.count} equal groups", ""
        return
    size = mlp.experts // groups.count
    if groups.chosen >= groups.count:
        message = f"choosing {groups.chosen} of {groups.count} groups limits nothing"
        yield f"{path}.router.groups.chosen", message, "choose fewer, or drop `groups`"
    elif mlp.per_token > groups.chosen * size:
        message = f"{groups.chosen} groups of {size} have no {mlp.per_token} experts to choose"
        yield f"{path}.router.groups.chosen", message, ""
    if groups.by == "top-2" and size < 2:
        yield f"{path}.router.groups.by", "a group of one expert has no best two", "use max"


def _norm_faults(norm: object, path: str) -> Iterator[Fault]:
    if isinstance(norm, LayerNorm) and not norm.affine:
        if norm.bias:
            yield f"{path}.affine", "a norm without a weight has no bias either", "set `bias: false`"
        if norm.unit_offset:
            yield f"{path}.unit_offset", "a norm without a weight has nothing to offset", "drop it"


def _rope_faults(rope: Rope, head_dim: int, head_path: str) -> Iterator[Fault]:
    if rope.dim is not None and rope.fraction != 1:
        yield "position.dim", "dim and fraction both say how many dimensions rotate", "drop one of them"
        return
    rotary = rope.dim if rope.dim is not None else int(head_dim * rope.fraction)
    path = "position.dim" if rope.dim is not None else "position.fraction" if rope.fraction < 1 else head_path
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
