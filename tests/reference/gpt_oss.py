"""gpt-oss: transformers' GptOssForCausalLM in its eager attention, the one with sinks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import GptOssConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.spelling import older_rope

YARN: dict[str, Any] = {
    "rope_type": "yarn",
    "rope_theta": 300.0,
    "factor": 4.0,
    "beta_fast": 1.2,
    "beta_slow": 0.3,
    "truncate": False,
    "original_max_position_embeddings": 16,
}
SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 14,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "sliding_window": 4,
    "num_local_experts": 6,
    "num_experts_per_tok": 3,
    "swiglu_limit": 1.1,
    "swiglu_alpha": 1.4,
    "rope_parameters": YARN,
}


def hub_file(config: dict[str, Any]) -> dict[str, Any]:
    """As the published files spell it: no numbers for the experts' function, some keys twice."""
    config = older_rope({key: value for key, value in config.items() if not key.startswith("swiglu_alpha")})
    same = {"experts_per_token": config["num_experts_per_tok"], "initial_context_length": 16}
    return config | same | {"swiglu_limit": config["swiglu_limit"], "output_router_logits": False}


def gpt_oss(seed: int, hub: bool = False, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES, its sinks large enough to take weight."""
    config = GptOssConfig(**SIZES | changes)
    reference = make("GptOssForCausalLM", config, seed, respell=hub_file if hub else None, attention="eager")
    with torch.no_grad():
        for name, parameter in reference.model.named_parameters():
            if name.endswith("sinks"):
                parameter.add_(1.0)
    return reference


CASES = (
    Case("yarn", partial(gpt_oss, 1), length=29),
    Case("hub-file", partial(gpt_oss, 2, hub=True, swiglu_alpha=1.702, num_hidden_layers=3)),
    Case(
        "by-list",
        partial(
            gpt_oss,
            3,
            layer_types=["full_attention", "sliding_attention"],
            attention_bias=False,
            num_experts_per_tok=2,
            num_key_value_heads=6,
            tie_word_embeddings=True,
        ),
    ),
)
