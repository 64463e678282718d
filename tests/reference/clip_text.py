"""Text towers of CLIP: transformers' classes, with and without a projection, and with the older id of the end token."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import CLIPTextConfig, MetaClip2TextConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 29,
    "hidden_size": 36,
    "intermediate_size": 52,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "max_position_embeddings": 40,
    "layer_norm_eps": 0.1,
    "eos_token_id": 28,
    "bos_token_id": 27,
}


def clip(
    class_name: str, seed: int, config: Any = CLIPTextConfig, norm: float = 1.0, **changes: Any
) -> FromTransformers:
    """A tiny tower of one of the classes."""
    gains = {"q_proj.weight": 2.0, "fc1.weight": 2.0, "fc2.weight": 2.0, "final_layer_norm.weight": norm}
    return make(class_name, config(**SIZES | changes), seed, gains=gains)


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("projection", partial(clip, "CLIPTextModelWithProjection", 1, projection_dim=22)),
    Encoder("older-end-token", partial(clip, "CLIPTextModel", 2, eos_token_id=2)),
    Encoder("metaclip-2", partial(clip, "MetaClip2TextModel", 3, MetaClip2TextConfig, eos_token_id=2)),
)
