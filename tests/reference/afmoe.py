"""Trinity: transformers' AfmoeForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import AfmoeConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    "moe_intermediate_size": 20,
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "num_shared_experts": 1,
    "route_scale": 1.7,
    "sliding_window": 4,
}


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of the published files."""
    groups = {"n_group": 1, "topk_group": 1, "num_expert_groups": 1, "num_limited_groups": 1}
    scores = {"score_func": "sigmoid", "route_norm": True, "load_balance_coeff": 5e-5, "use_grouped_mm": True}
    return older_rope(config) | groups | scores


def afmoe(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("AfmoeForCausalLM", AfmoeConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("published", partial(afmoe, 1, published, mup_enabled=True)),
    Case(
        "by-list",
        partial(
            afmoe,
            2,
            num_hidden_layers=3,
            layer_types=["full_attention", "sliding_attention", "sliding_attention"],
            num_dense_layers=2,
            num_shared_experts=2,
            attention_bias=True,
        ),
    ),
)
