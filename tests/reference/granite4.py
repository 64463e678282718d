"""Granite 4: transformers' GraniteMoeHybridForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import GraniteMoeHybridConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.bamba import SIZES as BAMBA
from tests.reference.mamba2 import GAINS
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    **BAMBA,
    "intermediate_size": 20,
    "shared_intermediate_size": 28,
    "num_local_experts": 6,
    "num_experts_per_tok": 3,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "embedding_multiplier": 2.5,
    "attention_multiplier": 0.4,
    "residual_multiplier": 0.7,
    "logits_scaling": 1.7,
    "rope_parameters": {"rope_type": "default", "rope_theta": 200.0},
}


def hub_file(config: dict[str, Any]) -> dict[str, Any]:
    """As the published files spell it."""
    config = older_rope(config)
    kinds = {"linear_attention": "mamba", "full_attention": "attention"}
    return config | {"layer_types": [kinds[kind] for kind in config["layer_types"]], "init_method": "mup"}


def granite4(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    config = GraniteMoeHybridConfig(**SIZES | changes)
    return make("GraniteMoeHybridForCausalLM", config, seed, gains=GAINS, respell=respell, cached=False)


ATTENTION = {"layer_types": ["full_attention"] * 2, "num_hidden_layers": 2}

CASES = (
    Case("experts-hub-file", partial(granite4, 1, hub_file, position_embedding_type="nope")),
    Case("attention-alone", partial(granite4, 2, num_local_experts=0, position_embedding_type="rope", **ATTENTION)),
)
