"""LFM2 with experts: transformers' Lfm2MoeForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from transformers import Lfm2MoeConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from archc.proof.random_weights import normal
from tests.reference.lfm2 import GAINS, SIZES

EXPERTS = {"moe_intermediate_size": 20, "num_dense_layers": 1, "num_experts": 6, "num_experts_per_tok": 3}


def lfm2_moe(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes, its buffer of biases among the parameters."""
    config = Lfm2MoeConfig(**SIZES | EXPERTS | changes)
    reference = make("Lfm2MoeForCausalLM", config, seed, gains=GAINS, cached=False)
    for name, module in list(reference.model.named_modules()):
        bias = module._buffers.pop("expert_bias", None)
        if bias is not None:
            module.expert_bias = nn.Parameter(0.5 * normal(name, tuple(bias.shape), seed))
    return reference


CASES = (
    Case("biased-router", partial(lfm2_moe, 1, routed_scaling_factor=1.7)),
    Case("no-bias", partial(lfm2_moe, 2, use_expert_bias=False, norm_topk_prob=False)),
)
