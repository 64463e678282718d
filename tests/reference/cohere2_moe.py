"""Cohere 2 with experts: transformers' Cohere2MoeForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Cohere2MoeConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 20,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 64,
    "layer_norm_eps": 0.1,
    "logit_scale": 0.7,
    "rope_theta": 300.0,
    "sliding_window": 4,
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "tie_word_embeddings": False,
}


def without_lists(config: dict[str, Any]) -> dict[str, Any]:
    """A file that leaves the kinds of layers to their default."""
    return {key: value for key, value in config.items() if key not in ("layer_types", "mlp_layer_types")}


def cohere2_moe(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("Cohere2MoeForCausalLM", Cohere2MoeConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("averaged", partial(cohere2_moe, 1, without_lists, num_shared_experts=2)),
    Case(
        "dense-first",
        partial(
            cohere2_moe,
            2,
            first_k_dense_replace=1,
            prefix_dense_intermediate_size=28,
            expert_selection_fn="sigmoid",
            num_shared_experts=1,
            shared_expert_combination_strategy="sum",
            rms_norm_eps=0.1,
            sliding_window_pattern=2,
        ),
    ),
    Case("unnormalized", partial(cohere2_moe, 3, expert_selection_fn="sigmoid", norm_topk_prob=False)),
)
