"""Kolibri 1: transformers' Kolibri1ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Kolibri1Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.exaone_moe import SIZES as EXAONE_SIZES
from tests.reference.selection_bias import with_selection_biases

_OTHERS = ("intermediate_size", "routed_scaling_factor")
SIZES: dict[str, Any] = {key: value for key, value in EXAONE_SIZES.items() if key not in _OTHERS}


def kolibri1(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of EXAONE's."""
    config = Kolibri1Config(**SIZES | {"shared_expert_intermediate_size": 28} | changes)
    return with_selection_biases(make("Kolibri1ForCausalLM", config, seed), seed)


CASES = (
    Case("by-list", partial(kolibri1, 1, layer_types=["sliding_attention", "full_attention"] * 2)),
    Case("normalized", partial(kolibri1, 2, norm_topk_prob=True, num_hidden_layers=5)),
)
