"""The text model of GLM 5.3 Flash: transformers' Glm5NextForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Indexed, Respell
from tests.reference.deepseek_v32 import KEYS
from tests.reference.dots3_note_text import SMALL
from tests.reference.hy_v4 import STREAMS
from tests.reference.kimi_linear import DECAYS
from tests.reference.multimodal import make_multimodal
from tests.reference.selection_bias import with_selection_biases

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "pad_token_id": 0,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
    "q_lora_rank": 20,
    "kv_lora_rank": 18,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 0,
    "v_head_dim": 7,
    "linear_num_heads": 4,
    "linear_head_dim": 6,
    "linear_lower_bound": -2.0,
    "moe_intermediate_size": 12,
    "n_routed_experts": 6,
    "num_experts_per_tok": 3,
    "routed_scaling_factor": 1.7,
    "swiglu_limit": 0.4,
    "hc_mult": 3,
    "hc_eps": 0.05,
    "hc_sinkhorn_iters": 3,
    "index_n_heads": 11,
    "index_head_dim": 14,
    "index_topk": 6,
    "index_kpool": 3,
    "layer_types": ["linear_attention", "indexed_attention", "linear_attention"],
    "mlp_layer_types": ["dense", "sparse", "sparse"],
}
GAINS = {**SMALL, **DECAYS, **STREAMS, **KEYS}


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The nested keys of the published file, with the schedule of selections in place of their list."""
    text = dict(config["text_config"])
    linear = {"head_dim": text.pop("linear_head_dim"), "num_heads": text.pop("linear_num_heads")}
    linear |= {"short_conv_kernel_size": text.pop("linear_conv_kernel_dim"), "safe_gate": True}
    linear |= {"gate_lower_bound": text.pop("linear_lower_bound")}
    del text["indexer_types"]
    return config | {"text_config": text | {"linear_attn_config": linear, "index_topk_freq": 1}}


def glm5_next(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    options = {"gains": GAINS, "respell": respell, "kind": Indexed}
    made = make_multimodal("Glm5Next", SIZES | changes, seed, "glm5_next_vision", "glm5_next_text", **options)
    for module in made.model.modules():
        if hasattr(module, "conv1d"):
            module.conv1d.weight.data[: 2 * module.qkv_dim] *= 0.01  # keys so short that the eps of their norm counts
    return with_selection_biases(made, seed)


CASES = (
    Case("published", partial(glm5_next, 1, published), length=23),
    Case(
        "shared-selections",
        partial(
            glm5_next,
            4,
            layer_types=["linear_attention", "indexed_attention", "indexed_attention"],
            indexer_types=["full", "full", "shared"],
            mlp_layer_types=["sparse", "dense", "sparse"],
            linear_lower_bound=None,
            index_kpool=4,
            index_topk=8,
            attention_bias=True,
            norm_topk_prob=False,
        ),
        length=29,
    ),
)
