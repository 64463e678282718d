"""Combinations within one layer that no key shows by itself; see `rules`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archc.archspec.errors import shown
from archc.archspec.vocabulary import (
    Alibi,
    Attention,
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
    MoeMlp,
    NoNorm,
    NoPosition,
    Position,
    PromptNtkScaling,
    QkNorm,
    RelativeBuckets,
    Rope,
    SelectiveScan,
    Sinusoidal,
)

Fault = tuple[str, str, str]  # path of the key, what is wrong, what to do


def layer_faults(layer: Layer, model: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong with a layer of a model."""
    norm = layer.norm
    yield from _mixer_faults(layer, model)
    if layer.attention is not None:
        yield from _attention_faults(layer.attention, layer, model)
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
    yield from norm_faults(norm, "layer.norm")
    yield from _mlp_faults(layer.mlp, "mlp")
    if layer.mlp is None:
        if layer.residual == "parallel":
            yield "mlp", "a parallel residual joins two branches", "give an MLP, or set `layer.residual: sequential`"
        if not isinstance(norm, NoNorm) and norm.branches != "mixer":
            yield "layer.norm.branches", "there is no MLP to have a norm", "set `branches: mixer`"
    if isinstance(layer.position, Learned) and (layer.position.size or 0) < model["context"]:
        message = f"a table of {layer.position.size} positions for a context of {model['context']} tokens"
        yield "position.size", message, "make it as large as `context`, or leave it out"


def _attention_faults(attention: Attention, layer: Layer, model: Mapping[str, Any]) -> Iterator[Fault]:
    if isinstance(attention, LatentAttention):
        yield from _latent_faults(attention, layer.position)
    else:
        yield from _grouped_faults(attention, layer.position)
    if model["topology"] == "encoder" and isinstance(layer.position, Alibi):
        yield "position", "alibi is relative only under a causal mask, which an encoder has not", ""
    if isinstance(layer.position, RelativeBuckets):
        yield from _bucket_faults(layer.position, model["topology"] == "encoder")
    if isinstance(layer.position, Rope):
        width = "rope_dim" if isinstance(attention, LatentAttention) else "head_dim"
        yield from _rope_faults(layer.position, attention.rotating_dim, f"attention.{width}")


def _grouped_faults(attention: GroupedQueryAttention, position: Position) -> Iterator[Fault]:
    if attention.heads % attention.kv_heads:
        yield "attention.kv_heads", f"{attention.heads} heads cannot share {attention.kv_heads} kv_heads evenly", ""
    if isinstance(position, BlockRope) and attention.head_dim % 4:
        message = f"each half of a head of {attention.head_dim} rotates in pairs"
        yield "attention.head_dim", message, "make it a multiple of 4"
    yield from _qk_norm_faults(attention.qk_norm, "attention.qk_norm")


def _latent_faults(attention: LatentAttention, position: Position) -> Iterator[Fault]:
    yield from norm_faults(attention.norm, "attention.norm")
    if isinstance(position, Alibi | BlockRope | RelativeBuckets):
        message = f"{position.kind} with latent attention; no checkpoint we know has it"
        yield "position", message, "use rope, learned or none"


def _mixer_faults(layer: Layer, model: Mapping[str, Any]) -> Iterator[Fault]:
    """Exactly one token mixer in a layer, and around a recurrence nothing that only attention reads."""
    recurrence = layer.recurrence
    if layer.attention is None and recurrence is None:
        yield "attention", "a layer without attention and without recurrence mixes no tokens", "give one of them"
    if recurrence is None:
        return
    if layer.attention is not None:
        yield "recurrence", "a layer has one token mixer, and this one has attention too", "set `attention: none`"
        return
    if not isinstance(layer.position, NoPosition | Learned | Sinusoidal):
        message = f"{layer.position.kind} positions are read by attention, and this layer has none"
        yield "position", message, "use none where there is a recurrence"
    if model["topology"] == "encoder":
        yield "recurrence", "an encoder reads both ways, and a recurrence only forwards", "use `topology: decoder`"
    if model["prefix"] is not None:
        yield "recurrence", "a prompt is read both ways, and a recurrence reads only forwards", "drop `prefix`"
    if isinstance(recurrence, SelectiveScan):
        yield from norm_faults(recurrence.inner_norm, "recurrence.inner_norm")


def _mlp_faults(mlp: object, path: str) -> Iterator[Fault]:
    if isinstance(mlp, GatedMlp) and mlp.activation == "xielu" and (mlp.beta or mlp.limit or mlp.up_offset):
        yield f"{path}.activation", "xielu learns its shape: beta, limit and up_offset have no place in it", "drop them"
    if isinstance(mlp, GatedMlp) and mlp.beta is not None and mlp.activation != "silu":
        yield f"{path}.beta", f"beta is a factor inside silu, and the activation is {shown(mlp.activation)}", "drop it"
    if isinstance(mlp, MoeMlp):
        if mlp.expert.activation == "xielu":
            yield (
                f"{path}.expert.activation",
                "xielu's learned numbers are one set, and experts are many",
                "use another",
            )
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


def _qk_norm_faults(stretch: QkNorm, path: str) -> Iterator[Fault]:
    yield from norm_faults(stretch, path)
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


def norm_faults(norm: object, path: str) -> Iterator[Fault]:
    """What is wrong with a norm, or with what may be one."""
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
