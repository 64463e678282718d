"""MiniMax M2: transformers' MiniMaxM2ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import MiniMaxM2Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.mixtral import SIZES
from tests.reference.selection_bias import with_selection_biases


def published(config: dict[str, Any]) -> dict[str, Any]:
    """As in the published files: the width that rotates, and switches at the only value that the class has."""
    rope = config.pop("rope_parameters")
    switches = {"scoring_func": "sigmoid", "use_qk_norm": True, "qk_norm_type": "per_layer", "use_routing_bias": True}
    without = {"attn_type_list": [1, 1, 1], "mlp_intermediate_size": 44, "shared_intermediate_size": 0}
    width = int(config["head_dim"] * rope["partial_rotary_factor"])
    return config | switches | without | {"rope_theta": rope["rope_theta"], "rotary_dim": width, "use_mtp": True}


def minimax_m2(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of Mixtral's."""
    rope = SIZES["rope_parameters"] | {"partial_rotary_factor": 0.6}
    config = MiniMaxM2Config(**SIZES | {"rope_parameters": rope} | changes)
    reference = make("MiniMaxM2ForCausalLM", config, seed, respell=respell)
    return with_selection_biases(reference, seed)


CASES = (
    Case("published", partial(minimax_m2, 1, published)),
    Case("newer-file", partial(minimax_m2, 2, num_local_experts=8, num_experts_per_tok=4)),
)
