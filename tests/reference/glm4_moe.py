"""GLM-4.5: transformers' Glm4MoeForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Glm4MoeConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.selection_bias import with_selection_biases
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0, "partial_rotary_factor": 0.5},
    "moe_intermediate_size": 20,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "routed_scaling_factor": 1.7,
}
GROUPS: dict[str, Any] = {"n_group": 4, "topk_group": 2, "norm_topk_prob": False, "n_shared_experts": 2}


def glm4_moe(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    reference = make("Glm4MoeForCausalLM", Glm4MoeConfig(**SIZES | changes), seed, respell=respell)
    return with_selection_biases(reference, seed)


CASES = (
    Case("large", partial(glm4_moe, 1, older_rope, attention_bias=True, use_qk_norm=True)),
    Case("groups", partial(glm4_moe, 2, **GROUPS)),
)
