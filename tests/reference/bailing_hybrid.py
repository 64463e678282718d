"""Ling 3: transformers' BailingHybridForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from transformers import BailingHybridConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from archc.proof.random_weights import normal
from tests.reference.kimi_linear import DECAYS
from tests.reference.kimi_linear import SIZES as KIMI
from tests.reference.minicpm3 import GAINS

SIZES: dict[str, Any] = {
    **{key: value for key, value in KIMI.items() if not key.startswith("linear")},
    "head_dim": 6,
    "first_k_dense_replace": 1,
    "kda_lower_bound": -2.0,
    "n_group": 3,
    "topk_group": 2,
    "rope_theta": 200.0,
    "rope_parameters": {"rope_type": "default", "rope_theta": 200.0},
}


def bailing_hybrid(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES, its buffer of biases among the parameters."""
    config = BailingHybridConfig(**SIZES | changes)
    reference = make("BailingHybridForCausalLM", config, seed, gains={**GAINS, **DECAYS}, cached=False)
    for name, module in list(reference.model.named_modules()):
        bias = module._buffers.pop("e_score_correction_bias", None)
        if bias is not None:
            module.e_score_correction_bias = nn.Parameter(0.5 * normal(name, tuple(bias.shape), seed))
        if hasattr(module, "conv1d"):
            module.conv1d.weight.data[: 2 * module.qkv_dim] *= 0.01  # keys so short that the eps of their norm counts
            module.q_proj.weight.data /= GAINS["q_proj.weight"]
            module.o_proj.weight.data /= GAINS["o_proj.weight"]
    return reference


CASES = (Case("groups", partial(bailing_hybrid, 1), length=37),)
