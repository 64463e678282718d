"""ERNIE 4.5 with experts: transformers' Ernie4_5_MoeForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Ernie4_5_MoeConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 60,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    "moe_intermediate_size": 20,
    "moe_num_experts": 8,
    "moe_k": 3,
    "tie_word_embeddings": False,
}


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of the published files."""
    more = {"moe_use_aux_free": True, "moe_capacity": [64, 64, 64], "num_nextn_predict_layers": 1}
    return older_rope(config) | more


def ernie4_5_moe(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("Ernie4_5_MoeForCausalLM", Ernie4_5_MoeConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("published", partial(ernie4_5_moe, 1, published, tie_word_embeddings=True)),
    Case(
        "some-layers",
        partial(
            ernie4_5_moe,
            2,
            num_hidden_layers=4,
            moe_layer_start_index=0,
            moe_layer_end_index=2,
            moe_layer_interval=2,
            moe_num_shared_experts=1,
            use_bias=True,
        ),
    ),
    Case("no-shared-expert", partial(ernie4_5_moe, 3, moe_num_shared_experts=0, num_hidden_layers=2)),
)
