"""The text model of Mistral Large 4: transformers' MistralLarge4ForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Indexed
from archc.proof.random_weights import normal
from tests.reference.multimodal import make_multimodal

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "pad_token_id": 0,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
    "kv_lora_rank": 18,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 8,
    "v_head_dim": 7,
    "moe_intermediate_size": 24,
    "n_routed_experts": 5,
    "num_experts_per_tok": 2,
    "routed_scaling_factor": 1.7,
    "final_logit_softcapping": 8.0,
    "index_n_heads": 11,
    "index_head_dim": 14,
    "index_topk": 8,
    "no_rope_layers": [1, 0, 1, 0],
    "kv_source_layers": [0, 1, 0, 1],
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 300.0,
        "factor": 4.0,
        "original_max_position_embeddings": 24,
        "beta_fast": 0.5,
        "beta_slow": 0.1,
        "attention_factor": 1.3,
    },
}
# Inputs of attention next to whose mean square the eps of the indexer's norms counts.
GAINS = {
    "input_layernorm.weight": 1e-3,
    "kv_a_proj_with_mqa.weight": 100.0,
    "q_proj.weight": 2000.0,
    "o_proj.weight": 2.0,
}


def mistral_large4(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES, whose factors on queries are positive."""
    made = make_multimodal(
        "MistralLarge4", SIZES | changes, seed, "pixtral", "mistral_large4_text", gains=GAINS, kind=Indexed
    )
    with torch.no_grad():
        for name, parameter in made.model.named_parameters():
            if ".softmax_scaling." in name:
                parameter.copy_(0.5 + 0.2 * normal(name, tuple(parameter.shape), seed).abs())
    return made


# The first layer has positions: without, equal tokens have equal scores, and which are selected is up to the library.
CASES = (
    Case("shared-latents", partial(mistral_large4, 1), length=14),
    Case(
        "groups",
        partial(
            mistral_large4,
            2,
            num_hidden_layers=3,
            no_rope_layers=[1, 0, 1],
            kv_source_layers=[0, 1, 2],
            indexer_types=["full", "shared", "full"],
            mlp_layer_types=["sparse", "dense", "sparse"],
            n_routed_experts=8,
            n_group=4,
            topk_group=2,
            num_experts_per_tok=3,
            attention_bias=True,
        ),
        length=29,
    ),
    Case(
        "shared-selections",
        partial(mistral_large4, 3, indexer_types=["full", "shared", "full", "shared"]),
        length=14,
    ),
)
