"""Qwen3-MoE: transformers' Qwen3MoeForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor
from transformers import Qwen3MoeConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.multimodal import make_multimodal
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 200.0},
    "num_experts": 16,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 12,
    "norm_topk_prob": True,
    "tie_word_embeddings": False,
}


def hub_file(config: dict[str, Any]) -> dict[str, Any]:
    """As the published files spell it."""
    config = older_rope(config)
    config["num_experts"] = config.pop("num_local_experts", config.get("num_experts"))
    return config | {"max_window_layers": 3, "sliding_window": None, "use_sliding_window": False}


def qwen3_moe(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("Qwen3MoeForCausalLM", Qwen3MoeConfig(**SIZES | changes), seed, respell=respell)


def qwen3_vl_moe(seed: int) -> FromTransformers:
    """The text model of a tiny Qwen3-VL with experts."""
    rope = {**SIZES["rope_parameters"], "mrope_section": [2, 2, 1], "mrope_interleaved": True}
    sizes = SIZES | {"rope_parameters": rope}
    return make_multimodal("Qwen3VLMoe", sizes, seed, "qwen3_vl", "qwen3_vl_moe_text", weights=published_experts)


def published_experts(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Experts as [experts, in, out], as in the published files."""
    return {name: value.transpose(1, 2) if ".experts." in name else value for name, value in tensors.items()}


CASES = (
    Case("normalized", partial(qwen3_moe, 1)),
    Case("hub-file", partial(qwen3_moe, 2, hub_file, norm_topk_prob=False, attention_bias=True)),
    Case("mixed", partial(qwen3_moe, 3, mlp_only_layers=[1], use_sliding_window=True, sliding_window=4)),
    Case("pictures", partial(qwen3_vl_moe, 4)),
)
