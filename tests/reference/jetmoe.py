"""JetMoE: transformers' JetMoeForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import JetMoeConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_key_value_heads": 3,
    "kv_channels": 10,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 200.0},
    "tie_word_embeddings": False,
}
GAINS = {"router.layer.weight": 5.0, "output_linear.weight": 3.0}


def jetmoe(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES, and embeddings next to which an eps of 1e-6 counts."""
    return make("JetMoeForCausalLM", JetMoeConfig(**SIZES | changes), seed, gains=GAINS, table=2e-3)


CASES = (
    Case("two-experts", partial(jetmoe, 1)),
    Case("three-experts", partial(jetmoe, 2, num_experts_per_tok=3, num_key_value_heads=1)),
)
