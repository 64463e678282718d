"""Rules for one bound layer: combinations of valid values that have no meaning or are not supported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archc.archspec.checking.differential_rules import differential_faults
from archc.archspec.checking.encoder_rules import (
    convolution_faults,
    disentangled_faults,
    group_faults,
    kernel_faults,
)
from archc.archspec.checking.fault import Fault
from archc.archspec.checking.front_rules import front_faults
from archc.archspec.checking.grouped_rules import USE_DIVISOR, grouped_faults, uneven_heads
from archc.archspec.checking.indexer_rules import indexer_faults
from archc.archspec.checking.latent_rules import gate_faults, latent_faults
from archc.archspec.checking.mlp_rules import mlp_faults
from archc.archspec.checking.norm_rules import norm_faults, qk_norm_faults
from archc.archspec.checking.recurrence_rules import matrix_state_faults
from archc.archspec.checking.stream_rules import memory_faults, stream_faults
from archc.archspec.errors import format_value
from archc.archspec.vocabulary import (
    Attention,
    CrossAttention,
    Disentangled,
    DynamicScaling,
    FourierMixing,
    LatentAttention,
    Layer,
    Learned,
    Llama3Scaling,
    LongRopeScaling,
    MatrixState,
    NoNorm,
    NoPosition,
    PlainMlp,
    PromptNtkScaling,
    ProportionalScaling,
    RelativeBuckets,
    RgLru,
    Rope,
    SelectiveScan,
    Sinusoidal,
)


def layer_faults(layer: Layer, model: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of a layer of a bound model."""
    yield from _mixer_faults(layer, model)
    if layer.attention is not None:
        yield from _attention_faults(layer.attention, layer, model)
    yield from _layout_faults(layer)
    if layer.cross_attention is not None:
        yield from _cross_attention_faults(layer.cross_attention, layer)
    yield from norm_faults(layer.norm, "layer.norm")
    if layer.embedding_branch is not None:
        yield from norm_faults(layer.embedding_branch.norm, "layer.embedding_branch.norm")
    if layer.adapter is not None and (layer.mlp is None or getattr(layer.norm, "placement", "pre") != "post"):
        message = "an adapter reads the norm after the MLP"
        yield "layer.adapter", message, "set `layer.norm.placement: post`, or remove the key"
    if layer.convolution is not None:
        yield from convolution_faults(layer.convolution, model)
    if layer.front is not None:
        yield from front_faults(layer)
    yield from stream_faults(layer)
    yield from memory_faults(layer, model)
    yield from mlp_faults(layer.mlp, "mlp")
    if isinstance(layer.mlp, PlainMlp):
        for name, count in (("up", layer.mlp.groups.up), ("down", layer.mlp.groups.down)):
            if model["embedding"].width % count or layer.mlp.width % count:
                message = f"{model['embedding'].width} and {layer.mlp.width} channels in {count} groups"
                yield f"mlp.groups.{name}", message, "use a divisor of both"
    yield from mlp_faults(layer.shortcut, "shortcut")
    is_sequential = layer.residual == "sequential" and getattr(layer.norm, "placement", "pre") != "post"
    if (layer.shortcut is not None or layer.adds_shortcut) and (layer.mlp is None or not is_sequential):
        path = "shortcut" if layer.shortcut is not None else "layer.adds_shortcut"
        yield path, "a shortcut requires an MLP in sequence, without a norm on the sum", "remove the key"
    if isinstance(layer.position, Learned) and (layer.position.size or 0) < model["context"]:
        message = f"a table of {layer.position.size} positions for a context of {model['context']} tokens"
        yield "position.size", message, "use at least `context`, or remove the key"


def _layout_faults(layer: Layer) -> Iterator[Fault]:
    """Yield the faults of norms and residual connections around the branches."""
    norm = layer.norm
    if not isinstance(norm, NoNorm):
        if norm.shared and layer.residual == "sequential":
            message = "a shared norm requires a parallel residual"
            yield "layer.norm.shared", message, "set `layer.residual: parallel`, or remove the key"
        if norm.placement != "pre" and layer.residual == "parallel":
            message = f"placement {format_value(norm.placement)} is not supported with a parallel residual"
            yield "layer.norm.placement", message, "use pre"
        if norm.mlp_placement is not None and (norm.placement == "post" or layer.residual == "parallel"):
            message = "another placement at the MLP requires sequential branches without norms on the sums"
            yield "layer.norm.mlp_placement", message, "remove the key"
        if norm.mlp_placement is not None and (norm.branches != "both" or norm.mlp_placement == norm.placement):
            yield "layer.norm.mlp_placement", "the branches have one placement", "remove the key"
        if norm.gate is not None and (norm.placement != "pre" or norm.mlp_placement is not None):
            message = f"a gate is not supported with placement {format_value(norm.mlp_placement or norm.placement)}"
            yield "layer.norm.gate", message, "use pre, or remove the key"
        if norm.shared and norm.branches != "both":
            yield "layer.norm.branches", "a shared norm applies to both branches", "remove the key"
    if layer.skip.source == "norm" and (isinstance(norm, NoNorm) or norm.placement not in ("pre", "sandwich")):
        yield "layer.skip.source", "`norm` requires a norm on the input of each branch", "use input"
    if layer.skip.learned:
        others = (layer.streams is not None, layer.front is not None, layer.cross_attention is not None)
        if layer.residual == "parallel" or any(others):
            message = "learned skip connections are those of two branches in sequence"
            yield "layer.skip.learned", message, "remove the key"
    if layer.mlp is None or layer.residual == "parallel":
        reason = "the layer has no MLP" if layer.mlp is None else "parallel branches have one sum"
        for path, scale in (("skip.mlp_scale", layer.skip.mlp_scale), ("mlp_branch_scale", layer.mlp_branch_scale)):
            if scale is not None:
                yield f"layer.{path}", f"{reason}, and so no scale of its own", "remove the key"
    if layer.mlp is None:
        if layer.residual == "parallel":
            message = "a parallel residual requires two branches"
            yield "mlp", message, "add an MLP, or set `layer.residual: sequential`"
        if not isinstance(norm, NoNorm) and norm.branches != "mixer":
            yield "layer.norm.branches", "the layer has no MLP, and so no norm on it", "set `branches: mixer`"


def _cross_attention_faults(cross: CrossAttention, layer: Layer) -> Iterator[Fault]:
    if cross.heads % cross.kv_heads:
        yield "cross_attention.kv_heads", uneven_heads(cross.heads, cross.kv_heads), USE_DIVISOR
    if layer.residual == "parallel":
        yield "layer.residual", "a parallel residual is not supported with cross-attention", "use sequential"
    yield from qk_norm_faults(cross.qk_norm, "cross_attention.qk_norm")


def _attention_faults(attention: Attention, layer: Layer, model: Mapping[str, Any]) -> Iterator[Fault]:
    if isinstance(attention, LatentAttention):
        yield from latent_faults(attention, layer.position)
    else:
        yield from grouped_faults(attention, layer.position)
        yield from differential_faults(attention)
        width, heads = model["embedding"].width, attention.kv_heads * attention.head_dim
        yield from group_faults(attention.groups, width, heads, "attention.groups")
        for key in ("convolution", "span_convolution"):
            if (word := getattr(attention, key)) is not None:
                yield from kernel_faults(word.kernel, f"attention.{key}", model)
        if attention.span_convolution is not None and attention.value_width != attention.head_dim:
            message = f"heads of a convolution have {attention.head_dim} channels, and values {attention.value_width}"
            yield "attention.span_convolution", message, "use values of the width of the head"
    yield from indexer_faults(attention, layer.position)
    if attention.gate is not None and attention.gate.head_bias and attention.gate.over == "heads":
        yield "attention.gate.head_bias", "each head has one gate", "use `bias`"
    yield from gate_faults(attention)
    is_encoder, direction = model["topology"] == "encoder", model["direction"]
    if getattr(attention, "compression", None) is not None and is_encoder and direction != "past":
        message = "a compressed key is of tokens before its query"
        yield "attention.compression", message, "use `topology: decoder`, or `direction: past`"
    if isinstance(layer.position, RelativeBuckets):
        if is_encoder and direction == "past":
            message = "relative-buckets are not supported with causal attention in an encoder"
            yield "direction", message, "remove the key"
        yield from _bucket_faults(layer.position, is_encoder)
    if isinstance(layer.position, Disentangled):
        yield from disentangled_faults(layer.position, attention, is_encoder and direction != "past")
    if isinstance(layer.position, Rope):
        width = "rope_dim" if isinstance(attention, LatentAttention) else "head_dim"
        yield from _rope_faults(layer.position, attention.rotating_dim, f"attention.{width}")


def _mixer_faults(layer: Layer, model: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of a layer without a branch or with two mixers, or of a recurrence with keys of attention."""
    recurrence = layer.recurrence
    both = layer.attention is not None and recurrence is not None
    if layer.mixing is not None:
        yield from _mixing_faults(layer, model)
    elif layer.attention is None and recurrence is None:
        yield from _without_mixer_faults(layer)
    if layer.mixers == "parallel" and not both:
        yield "layer.mixers", "parallel mixers are attention and a recurrence", "add both sections, or use one"
    if recurrence is None:
        return
    if both and layer.mixers == "one" and layer.front is None:
        hint = "set `attention: none`, or `layer.mixers: parallel`"
        yield "recurrence", "the layer has both attention and a recurrence", hint
        return
    if layer.attention is None and not isinstance(layer.position, NoPosition | Learned | Sinusoidal):
        message = f"{layer.position.kind} requires attention, and the layer has a recurrence"
        yield "position", message, "use none in layers with a recurrence"
    if model["topology"] == "encoder":
        message = "a recurrence is causal and is not supported in an encoder"
        yield "recurrence", message, "use `topology: decoder`"
    if model["prefix"] is not None:
        message = "a recurrence is causal and is not supported with `prefix`"
        yield "recurrence", message, "remove `prefix`"
    if isinstance(recurrence, SelectiveScan):
        if recurrence.width % recurrence.heads:
            message = f"{recurrence.width} channels are not a multiple of {recurrence.heads} heads"
            yield "recurrence.heads", message, "use a divisor of `width`"
        yield from norm_faults(recurrence.inner_norm, "recurrence.inner_norm")
    if isinstance(recurrence, RgLru) and recurrence.width % recurrence.blocks:
        message = f"{recurrence.width} channels are not a multiple of {recurrence.blocks} blocks"
        yield "recurrence.blocks", message, "use a divisor of `width`"
    if isinstance(recurrence, MatrixState):
        yield from matrix_state_faults(recurrence)


def _mixing_faults(layer: Layer, model: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of a mixer without a state."""
    if layer.attention is not None or layer.recurrence is not None:
        other = "attention" if layer.attention is not None else "a recurrence"
        yield "mixing", f"the layer has both {other} and mixing", f"set `{other.rsplit(maxsplit=1)[-1]}: none`"
    if isinstance(layer.mixing, FourierMixing) and (model["topology"] != "encoder" or model["direction"] == "past"):
        yield "mixing", "every output depends on all tokens of a text", "use `topology: encoder`"
    if not isinstance(layer.position, NoPosition | Learned | Sinusoidal):
        message = f"{layer.position.kind} requires attention, and the layer has mixing"
        yield "position", message, "use none in layers without attention"


def _without_mixer_faults(layer: Layer) -> Iterator[Fault]:
    """Yield the faults of a layer with an MLP alone."""
    if layer.mlp is None:
        # Without a norm, too, the layer is the identity, as pruned layers are.
        if not isinstance(layer.norm, NoNorm):
            message = "the layer has neither attention, a recurrence nor an MLP"
            yield "attention", message, "add one of them, or set `norm: none` for a layer without effect"
        return
    if layer.residual == "parallel":
        message = "a parallel residual requires two branches"
        yield "attention", message, "add a token mixer, or set `layer.residual: sequential`"
    if not isinstance(layer.norm, NoNorm) and layer.norm.branches != "mlp":
        yield "layer.norm.branches", "the layer has no token mixer, and so no norm on it", "set `branches: mlp`"
    if not isinstance(layer.position, NoPosition | Learned | Sinusoidal):
        message = f"{layer.position.kind} requires attention, and the layer has an MLP alone"
        yield "position", message, "use none in layers without attention"


def _bucket_faults(position: RelativeBuckets, is_encoder: bool) -> Iterator[Fault]:
    """Yield the faults of bucket counts that the formula cannot divide: half of a side's buckets are exact."""
    if is_encoder and (position.buckets % 2 or position.buckets < 4):
        message = f"{position.buckets} buckets for the two sides of an encoder"
        yield "position.buckets", message, "use an even number of at least 4"
        return
    exact = position.buckets // (4 if is_encoder else 2)
    if position.max_distance <= exact:
        message = f"max_distance {position.max_distance} for {exact} distances with a bucket each"
        yield "position.max_distance", message, f"use more than {exact}, or fewer buckets"


def _rope_faults(rope: Rope, head_dim: int, head_path: str) -> Iterator[Fault]:
    if rope.dim is not None and rope.fraction != 1:
        yield "position.dim", "dim and fraction both set the number of rotating dimensions", "remove one of them"
        return
    is_proportional = isinstance(rope.scaling, ProportionalScaling)
    if is_proportional and rope.dim is not None:
        yield "position.dim", "proportional scaling has angles for the whole head", "use `fraction`"
    rotary = rope.dim if rope.dim is not None else head_dim if is_proportional else int(head_dim * rope.fraction)
    path = "position.dim" if rope.dim is not None else "position.fraction" if rope.fraction < 1 else head_path
    if rotary > head_dim:
        yield path, f"{rotary} rotating dimensions in a head of {head_dim}", "use fewer"
    elif rotary < 2 or rotary % 2:
        product = f" ({rope.fraction:g} of head_dim {head_dim})" if rope.fraction < 1 else ""
        yield path, f"{rotary} rotating dimensions{product}", "use an even number of at least 2"
    scaling = rope.scaling
    if rope.learned and isinstance(scaling, DynamicScaling | PromptNtkScaling | LongRopeScaling):
        yield "position.learned", f"{scaling.kind} scaling changes the frequencies by call", "use another scaling"
    if rotary == 2 and isinstance(scaling, DynamicScaling | PromptNtkScaling):
        message = f"{scaling.kind} scaling requires more than 2 rotating dimensions d: its exponent is d/(d−2)"
        yield "position.scaling", message, "rotate more dimensions, or use another scaling"
    if isinstance(scaling, Llama3Scaling) and scaling.low_freq_factor >= scaling.high_freq_factor:
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        message = f"low_freq_factor {low:g} must be less than high_freq_factor {high:g}"
        yield "position.scaling", message, "change one of them"
    if isinstance(scaling, LongRopeScaling):
        for name, factors in (("long_factor", scaling.long_factor), ("short_factor", scaling.short_factor)):
            if len(factors) != rotary // 2:
                message = f"{len(factors)} factors for {rotary // 2} rotating pairs"
                yield f"position.scaling.{name}", message, "use one factor per pair"
        if scaling.factor is None and scaling.attention_factor is None:
            yield "position.scaling", "longrope requires factor or attention_factor", "add one of them"
