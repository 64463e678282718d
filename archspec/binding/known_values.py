"""Values of a bound model by their usual keys in config.json: a key that repeats one of them changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from archc.archspec.config.names import is_same
from archc.archspec.vocabulary import (
    Alibi,
    GatedMlp,
    GroupedQueryAttention,
    Layer,
    LayerNorm,
    LmHead,
    MlmHead,
    NoNorm,
    PlainMlp,
    RmsNorm,
    Rope,
)
from archc.archspec.vocabulary.mlp import ACTIVATION_ALIASES

_KEYS: Mapping[str, tuple[str, ...]] = {
    "width": ("hidden_size", "n_embd", "n_embed", "d_model", "dim", "model_dim"),
    "vocab": ("vocab_size", "padded_vocab_size"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_head_kv", "multi_query_group_num"),
    "head_dim": ("head_dim", "attention_head_dim", "attention_head_size", "kv_channels", "d_head"),
    "mlp": ("intermediate_size", "ffn_dim", "d_ff", "n_inner", "ffn_hidden_size", "inner_hidden_size"),
    "activation": ("hidden_act", "hidden_activation", "activation_function", "activation"),
    "eps": ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "layernorm_epsilon", "norm_eps", "norm_epsilon"),
    "theta": ("rope_theta", "rotary_emb_base", "rotary_base"),
    "position": ("position_embedding_type", "pos_emb", "position_encoding_type"),
    "rope": ("use_rope", "use_rotary_embeddings", "use_rotary"),
    "fraction": ("partial_rotary_factor", "rotary_pct"),
    "qkv_bias": ("attention_bias", "qkv_bias", "use_qkv_bias", "add_qkv_bias"),
    "mlp_bias": ("mlp_bias",),
    "tie": ("tie_word_embeddings",),
    "causal": ("is_causal", "causal", "use_causal_mask", "causal_mask", "is_decoder"),
    "encoder_decoder": ("is_encoder_decoder",),
}


def repeats_model(key: str, value: object, model: Mapping[str, Any]) -> bool:
    """Return whether a key of config.json has the value that the bound model, the fields of a BoundSpec, has anyway.

    A value that differs between layers, or between encoder and decoder, repeats neither.
    """
    name = next((name for name, keys in _KEYS.items() if key in keys), None)
    if name is None:
        return False
    if name == "activation" and isinstance(value, str):
        value = ACTIVATION_ALIASES.get(value, value)
    stacks = [model] if model.get("encoder") is None else [model, model["encoder"]]
    known = [item for stack in stacks for item in _values(name, stack, model)]
    return bool(known) and all(_is_equal(value, item) for item in known)


def _is_equal(value: object, item: object) -> bool:
    if isinstance(item, frozenset):
        return value in item if isinstance(value, str) else False
    return is_same(value, item)


def _values(name: str, stack: Mapping[str, Any], model: Mapping[str, Any]) -> Iterator[object]:
    """Yield the values of one stack, one per layer for those of layers; None where a layer has none."""
    match name:
        case "width":
            yield stack["embedding"].width
        case "vocab":
            yield stack["embedding"].vocab
        case "layers":
            yield len(stack["layers"])
        case "tie":
            head = model["head"]
            yield head.tie if isinstance(head, LmHead | MlmHead) else None
        case "causal":
            yield model["topology"] != "encoder"
        case "encoder_decoder":
            yield model["topology"] == "encoder-decoder"
        case "eps":
            yield from _epsilons(stack)
        case _:
            for layer in set(stack["layers"]):
                yield _layer_value(name, layer)


def _layer_value(name: str, layer: Layer) -> object:
    attention, mlp, position = layer.attention, layer.mlp, layer.position
    grouped = attention if isinstance(attention, GroupedQueryAttention) else None
    dense = mlp if isinstance(mlp, GatedMlp | PlainMlp) else None
    rope = position if isinstance(position, Rope) else None
    match name:
        case "heads":
            return attention.heads if attention is not None else None
        case "kv_heads":
            return grouped.kv_heads if grouped is not None else None
        case "head_dim":
            return grouped.head_dim if grouped is not None else None
        case "qkv_bias":
            return grouped.bias.qkv if grouped is not None else None
        case "mlp":
            return dense.width if dense is not None else None
        case "mlp_bias":
            return dense.bias if dense is not None else None
        case "activation":
            return dense.activation if dense is not None else None
        case "theta":
            return rope.theta if rope is not None else None
        case "fraction":
            return rope.fraction if rope is not None and rope.dim is None else None
        case "rope":
            return rope is not None
        case "position":
            return _position_names(layer)
    return None


def _position_names(layer: Layer) -> frozenset[str]:
    """Return the usual names of a layer's kind of positions."""
    if isinstance(layer.position, Rope):
        return frozenset(("rope", "rotary"))
    if isinstance(layer.position, Alibi):
        return frozenset(("alibi",))
    return frozenset(("absolute", "learned") if layer.position.kind == "learned" else ())


def _epsilons(stack: Mapping[str, Any]) -> Iterable[float | None]:
    """Return the eps of every norm on the residual stream."""
    norms = [stack["final_norm"], *(layer.norm for layer in stack["layers"])]
    return {
        norm.eps if isinstance(norm, RmsNorm | LayerNorm) else None for norm in norms if not isinstance(norm, NoNorm)
    }
