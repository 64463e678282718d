"""Gemma 3: transformers' Gemma3ForCausalLM, its two rotary bases in the spelling of either generation."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import Gemma3TextConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.multimodal import make_multimodal

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 8,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.05,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 900.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 60.0},
    },
    "head_dim": 18,
    "query_pre_attn_scalar": 11,
    "sliding_window": 4,
}
LINEAR: dict[str, Any] = {
    **SIZES["rope_parameters"],
    "full_attention": {"rope_type": "linear", "rope_theta": 700.0, "factor": 5.0},
}

BOTH_KINDS = ["full_attention", "sliding_attention"] * 4


def older_file(config: dict[str, Any]) -> dict[str, Any]:
    """A base for each kind of layer at the top level, scaling for one of them, and a pattern of layers as a number."""
    config = dict(config)
    rope, local = config["rope_parameters"]["full_attention"], config["rope_parameters"]["sliding_attention"]
    for key in ("rope_parameters", "layer_types"):
        config.pop(key)
    scaled = rope["rope_type"] != "default"
    return config | {
        "rope_theta": rope["rope_theta"],
        "rope_local_base_freq": local["rope_theta"],
        "sliding_window_pattern": 6,
        "rope_scaling": {"rope_type": rope["rope_type"], "factor": rope["factor"]} if scaled else None,
        "cache_implementation": "hybrid",
    }


def gemma3(
    seed: int, respell: Respell | None = None, class_name: str = "Gemma3ForCausalLM", **changes: Any
) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    config = Gemma3TextConfig(**SIZES | changes)
    return raise_branches(make(class_name, config, seed, respell=respell, unit_offset=True, table=0.2))


def gemma3_pictures(seed: int) -> FromTransformers:
    """The text model of a tiny Gemma 3 with a vision part."""
    sizes = {**SIZES, "tie_word_embeddings": True}
    return raise_branches(
        make_multimodal("Gemma3", sizes, seed, "siglip_vision_model", "gemma3_text", unit_offset=True, table=0.2)
    )


def raise_branches(reference: FromTransformers) -> FromTransformers:
    """Let branches outweigh the embedding, whose tied head would repeat the input."""
    with torch.no_grad():
        for name, parameter in reference.model.named_parameters():
            if "post_" in name or name.endswith("model.norm.weight"):
                parameter.add_(1.5)
    return reference


CASES = (
    Case("newer-file", partial(gemma3, 1)),
    Case("older-file", partial(gemma3, 2, older_file)),
    Case("linear", partial(gemma3, 3, rope_parameters=LINEAR), length=31),
    Case("linear-older-file", partial(gemma3, 4, older_file, rope_parameters=LINEAR), length=31),
    Case("by-list", partial(gemma3, 5, layer_types=BOTH_KINDS)),
    Case(
        "classes",
        partial(gemma3, 8, class_name="Gemma3TextForSequenceClassification", num_labels=3, pad_token_id=None),
        topology="encoder",
    ),
    Case(
        "both-directions",
        partial(
            gemma3,
            9,
            class_name="Gemma3TextModel",
            use_bidirectional_attention=True,
            sliding_window=9,
            layer_types=BOTH_KINDS,
        ),
        topology="encoder",
    ),
    Case("pictures", partial(gemma3_pictures, 7)),
    Case("capped-biased", partial(gemma3, 6, attention_bias=True, final_logit_softcapping=12.0)),
)
