"""BlenderBot: transformers' BlenderbotForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import BlenderbotConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell
from tests.reference.bart import SIZES
from tests.reference.mbart import biased


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The switches that published files have."""
    return config | {
        "add_bias_logits": False,
        "add_final_layer_norm": True,
        "do_blenderbot_90_layernorm": True,
        "extra_layer_norm": False,
        "extra_pos_embeddings": 0,
        "layernorm_variant": "prelayernorm",
        "normalize_before": True,
        "normalize_embedding": False,
        "static_position_embeddings": False,
    }


def blenderbot(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny BlenderBot with the given differences from SIZES."""
    config = BlenderbotConfig(**SIZES | changes)
    return biased("BlenderbotForConditionalGeneration", config, seed, respell=respell)


Answer = partial(Case, topology="encoder-decoder", lead=(5,))
CASES = (
    Answer("base", partial(blenderbot, 1)),
    Answer("published", partial(blenderbot, 2, published, scale_embedding=True)),
)
