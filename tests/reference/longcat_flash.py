"""LongCat-Flash: transformers' LongcatFlashForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from transformers import LongcatFlashConfig, PreTrainedModel

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.deepseek_v2 import YARN
from tests.reference.minicpm3 import GAINS
from tests.reference.selection_bias import with_selection_biases

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "ffn_hidden_size": 44,
    "expert_ffn_hidden_size": 20,
    "num_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.05,
    "rope_parameters": {"rope_type": "default", "rope_theta": 60.0},
    "q_lora_rank": 16,
    "kv_lora_rank": 12,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 6,
    "v_head_dim": 10,
    "head_dim": 6,
    "n_routed_experts": 5,
    "zero_expert_num": 3,
    "moe_topk": 3,
    "routed_scaling_factor": 1.7,
}


def drop_identities(model: PreTrainedModel) -> None:
    """Remove the weights that the class has for experts without any."""
    for module in model.modules():
        if hasattr(module, "zero_expert_num"):
            module.gate_up_proj = nn.Parameter(module.gate_up_proj[: module.num_routed_experts].clone())


def longcat_flash(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    config = LongcatFlashConfig(**SIZES | changes)
    reference = make("LongcatFlashForCausalLM", config, seed, gains=GAINS, prepare=drop_identities)
    return with_selection_biases(reference, seed)


CASES = (
    Case("pairs", partial(longcat_flash, 1)),
    Case("yarn", partial(longcat_flash, 2, num_layers=1, attention_bias=True, rope_parameters=YARN), length=41),
)
