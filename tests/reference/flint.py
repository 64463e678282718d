"""Flint: transformers' FlintForCausalLM in its eager attention, the one with sinks."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import FlintConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.qwen3_moe import SIZES as QWEN3_MOE

SIZES: dict[str, Any] = QWEN3_MOE | {
    "num_hidden_layers": 4,
    "sliding_window": 4,
    "num_experts": 6,
    "shared_expert_intermediate_size": 20,
}
LISTS: dict[str, Any] = {
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention"],
    "mlp_only_layers": [2],
}


def without_lists(config: dict[str, Any]) -> dict[str, Any]:
    """A file that leaves both lists to the class."""
    return {key: value for key, value in config.items() if key not in ("layer_types", "mlp_only_layers")}


def flint(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("FlintForCausalLM", FlintConfig(**SIZES | changes), seed, respell=respell, attention="eager")


CASES = (
    Case("own-layers", partial(flint, 1, without_lists)),
    Case("by-list-biased", partial(flint, 2, norm_topk_prob=False, attention_bias=True, **LISTS)),
)
