"""The text model of Step 3.7: transformers' Step3p7ForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.laguna import ROPE
from tests.reference.multimodal import make_multimodal
from tests.reference.selection_bias import with_selection_biases

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_sliding_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "moe_intermediate_size": 20,
    "share_expert_dim": 28,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "moe_router_scaling_factor": 1.7,
    "sliding_window": 4,
    "rope_parameters": ROPE,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
    "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
    "swiglu_limits": [None, 0.4, None, 0.5],
    "swiglu_limits_shared": [0.6, 0, 0.3, None],
}


def step3p7(seed: int, **changes: Any) -> FromTransformers:
    """The text model of a tiny Step 3.7."""
    reference = make_multimodal("Step3p7", SIZES | changes, seed, "step3p5_vision", "step3p5", unit_offset=True)
    return with_selection_biases(reference, seed)


CASES = (
    Case("pictures", partial(step3p7, 1), length=29),
    Case("biased", partial(step3p7, 2, attention_bias=True, mlp_bias=True, query_pre_attn_scalar=30)),
)
