"""A.X K1: transformers' AXK1ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import AXK1Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.deepseek_v2 import SIZES, YARN
from tests.reference.deepseek_v3 import GROUPS, ONE_GROUP
from tests.reference.minicpm3 import GAINS
from tests.reference.selection_bias import with_selection_biases


def axk1(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of DeepSeek V2's."""
    sizes = {key: value for key, value in SIZES.items() if key != "first_k_dense_replace"}
    config = AXK1Config(**sizes | changes)
    return with_selection_biases(make("AXK1ForCausalLM", config, seed, gains=GAINS), seed)


CASES = (
    Case("groups", partial(axk1, 1, **GROUPS, rope_parameters=YARN), length=41),
    Case("by-list", partial(axk1, 2, **ONE_GROUP, mlp_layer_types=["sparse", "dense"], rope_interleave=False)),
)
