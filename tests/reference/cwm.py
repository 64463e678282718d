"""Code World Model: transformers' CwmForCausalLM, its layers by list and by pattern."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import CwmConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.exaone4 import LLAMA3
from tests.reference.llama import SIZES as LLAMA
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = LLAMA | {"num_hidden_layers": 5, "sliding_window": 4}


def older_file(config: dict[str, Any]) -> dict[str, Any]:
    """A file that leaves the list to the pattern."""
    return older_rope({key: value for key, value in config.items() if key != "layer_types"})


def cwm(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("CwmForCausalLM", CwmConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("by-list", partial(cwm, 1, layer_types=["sliding_attention", "full_attention"] * 2 + ["sliding_attention"])),
    Case("older-file", partial(cwm, 2, older_file, rope_parameters=LLAMA3, mlp_bias=True), length=31),
)
