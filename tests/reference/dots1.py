"""dots.llm1: transformers' Dots1ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Dots1Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.glm4_moe import GROUPS
from tests.reference.glm4_moe import SIZES as GLM_SIZES
from tests.reference.selection_bias import with_selection_biases
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = GLM_SIZES | {"rope_parameters": {"rope_type": "default", "rope_theta": 300.0}}


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of the published file."""
    config = older_rope({key: value for key, value in config.items() if key != "layer_types"})
    return config | {"scoring_func": "noaux_tc", "moe_layer_freq": 1, "use_sliding_window": False}


def dots1(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    reference = make("Dots1ForCausalLM", Dots1Config(**SIZES | changes), seed, respell=respell)
    return with_selection_biases(reference, seed)


CASES = (
    Case(
        "published",
        partial(
            dots1, 1, published, n_shared_experts=2, norm_topk_prob=True, first_k_dense_replace=1, sliding_window=None
        ),
    ),
    Case("window", partial(dots1, 2, **GROUPS, sliding_window=4, max_window_layers=1, attention_bias=True)),
)
