"""MiniMax: transformers' MiniMaxForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import MiniMaxConfig

from tests.families.case import Case
from tests.reference.from_transformers import FromTransformers, make
from tests.reference.mixtral import SIZES

SCALES: dict[str, Any] = {
    "full_attn_alpha_factor": 1.4,
    "full_attn_beta_factor": 0.8,
    "linear_attn_alpha_factor": 1.7,
    "linear_attn_beta_factor": 1.2,
    "mlp_alpha_factor": 0.6,
    "mlp_beta_factor": 1.5,
}


def minimax(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from Mixtral's sizes; values so small that the eps of their norm counts."""
    config = MiniMaxConfig(**SIZES | {"block_size": 4} | changes)
    return make("MiniMaxForCausalLM", config, seed, gains={"qkv_proj.weight": 0.1}, cached=False)


CASES = (
    Case("scales", partial(minimax, 1, **SCALES), length=37),
    Case(
        "lightning-first", partial(minimax, 2, layer_types=["linear_attention", "linear_attention", "full_attention"])
    ),
)
