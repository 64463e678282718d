"""DeepSeek V2: transformers' DeepseekV2ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import DeepseekV2Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.minicpm3 import GAINS
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.01,
    "q_lora_rank": 14,
    "kv_lora_rank": 18,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 8,
    "v_head_dim": 7,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 24,
    "n_routed_experts": 5,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 300.0,
    "factor": 4.0,
    "original_max_position_embeddings": 24,
    "beta_fast": 0.5,
    "beta_slow": 0.1,
    "mscale": 1.7,
    "mscale_all_dim": 0.6,
}
GROUPS: dict[str, Any] = {
    "topk_method": "group_limited_greedy",
    "n_routed_experts": 8,
    "n_group": 4,
    "topk_group": 2,
    "num_experts_per_tok": 3,
    "routed_scaling_factor": 1.7,
}


def as_first_files(config: dict[str, Any]) -> dict[str, Any]:
    """The keys that only the first files have, at the values that they have there."""
    more = {"moe_layer_freq": 1, "scoring_func": "softmax", "aux_loss_alpha": 0.001, "seq_aux": True, "ep_size": 1}
    return older_rope(config) | more


def deepseek_v2(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    config = DeepseekV2Config(**SIZES | changes)
    return make("DeepseekV2ForCausalLM", config, seed, gains=GAINS, respell=respell)


CASES = (
    Case("lite", partial(deepseek_v2, 1, as_first_files, q_lora_rank=None, rope_parameters=YARN), length=41),
    Case("groups", partial(deepseek_v2, 2, **GROUPS, max_position_embeddings=256)),
    Case("biased", partial(deepseek_v2, 3, attention_bias=True, mlp_bias=True, first_k_dense_replace=0)),
)
