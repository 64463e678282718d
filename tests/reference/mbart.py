"""mBART: transformers' MBartForConditionalGeneration, and what the families with its layers share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from transformers import MBartConfig, PreTrainedConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.answering import Answering, with_logits_bias
from tests.reference.bart import SIZES


def small(config: PreTrainedConfig) -> dict[str, float]:
    """Factors on parameters that show the eps of the norms, a constant of 1e-5.

    All that is added to the stream is small, and the last norm makes up for it. A scale of the embedding is undone.
    """
    scale = config.d_model**0.5 if config.scale_embedding else 1.0
    return {
        "shared.weight": 0.03 / scale,
        "embed_positions.weight": 0.1,
        "layernorm_embedding.weight": 0.05,
        "layernorm_embedding.bias": 0.01,
        "out_proj.weight": 0.01,
        "out_proj.bias": 0.003,
        "fc2.weight": 0.03,
        "fc2.bias": 0.002,
        "decoder.layer_norm.weight": 30.0 * scale,
    }


def biased(
    class_name: str,
    config: PreTrainedConfig,
    seed: int,
    gains: Mapping[str, float] | None = None,
    **options: Any,
) -> FromTransformers:
    """A tiny encoder-decoder with norms before the branches, or with the given gains, and a bias on its logits."""
    made = make(class_name, config, seed, kind=Answering, gains=gains or small(config), **options)
    return with_logits_bias(made, seed, 0.1)


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The switches of fairseq's BART that published files have."""
    return config | {
        "add_bias_logits": False,
        "add_final_layer_norm": True,
        "normalize_before": True,
        "normalize_embedding": True,
        "static_position_embeddings": False,
    }


def mbart(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny mBART with the given differences from SIZES."""
    return biased("MBartForConditionalGeneration", MBartConfig(**SIZES | changes), seed, respell=respell)


Answer = partial(Case, topology="encoder-decoder", lead=(5,))
CASES = (
    Answer("base", partial(mbart, 1)),
    Answer("published", partial(mbart, 2, published, scale_embedding=True, activation_function="relu")),
)
