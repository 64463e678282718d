"""The text model of DeepSeek-OCR 2: transformers' DeepseekOcr2ForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.multimodal import make_multimodal

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 60,
    "intermediate_size": 44,
    "moe_intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "mlp_layer_types": ["dense", "sparse", "sparse"],
}


def deepseek_ocr2(seed: int, **changes: Any) -> FromTransformers:
    """The text model of a tiny DeepSeek-OCR 2."""
    return make_multimodal("DeepseekOcr2", SIZES | changes, seed, "deepseek_ocr2_vision", "deepseek_ocr2_text")


CASES = (
    Case("pictures", partial(deepseek_ocr2, 1, attention_bias=True)),
    Case(
        "groups",
        partial(
            deepseek_ocr2,
            2,
            topk_method="group_limited_greedy",
            n_group=4,
            topk_group=2,
            routed_scaling_factor=1.7,
            mlp_bias=True,
        ),
    ),
)
