"""Mistral 4: transformers' Mistral4ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Mistral4Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.deepseek_v2 import SIZES, YARN
from tests.reference.minicpm3 import GAINS

QUERIES: dict[str, Any] = {"llama_4_scaling_beta": 0.4, "original_max_position_embeddings": 8}
BAND: dict[str, Any] = {"beta_fast": 0.2, "beta_slow": 0.05}  # of frequencies, for this length
GROUPS: dict[str, Any] = {
    "n_routed_experts": 8,
    "n_group": 4,
    "topk_group": 2,
    "num_experts_per_tok": 3,
    "norm_topk_prob": False,
    "routed_scaling_factor": 1.7,
}


def mistral4(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of DeepSeek V2's."""
    config = Mistral4Config(**SIZES | {"rope_parameters": YARN | QUERIES | BAND} | changes)
    return make("Mistral4ForCausalLM", config, seed, gains=GAINS)


CASES = (
    Case("one-group", partial(mistral4, 1), length=29),
    Case("groups", partial(mistral4, 2, **GROUPS, rope_interleave=False, q_lora_rank=None), length=29),
)
