"""Qwen2-MoE: transformers' Qwen2MoeForCausalLM, with dense layers by list and by step."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Qwen2MoeConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 200.0},
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 20,
    "shared_expert_intermediate_size": 28,
}


def qwen2_moe(seed: int, newer_file: bool = True, **changes: Any) -> FromTransformers:
    """A tiny model; `newer_file` keeps the `layer_types` that files of transformers 5 carry, and older ones lack."""

    def respell(config: dict[str, Any]) -> dict[str, Any]:
        return config if newer_file else older_rope({key: config[key] for key in config if key != "layer_types"})

    return make("Qwen2MoeForCausalLM", Qwen2MoeConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("shared", partial(qwen2_moe, 1)),
    Case("by-list", partial(qwen2_moe, 2, mlp_only_layers=[0, 2], norm_topk_prob=True)),
    Case("by-step", partial(qwen2_moe, 3, newer_file=False, decoder_sparse_step=2, tie_word_embeddings=True)),
    Case(
        "window-older-file",
        partial(qwen2_moe, 4, newer_file=False, use_sliding_window=True, sliding_window=4, max_window_layers=2),
    ),
    Case("unbiased", partial(qwen2_moe, 5, qkv_bias=False, num_experts_per_tok=5, hidden_act="gelu")),
)
