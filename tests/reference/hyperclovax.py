"""HyperCLOVA X: transformers' HyperCLOVAXForCausalLM, with and without norms on the branches' outputs."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import HyperCLOVAXConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.granite import SIZES
from tests.reference.spelling import older_rope


def hyperclovax(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of Granite's."""
    return make("HyperCLOVAXForCausalLM", HyperCLOVAXConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("multiplied", partial(hyperclovax, 1, head_dim=14)),
    Case(
        "older-file-without-output-norms",
        partial(hyperclovax, 2, older_rope, use_post_norm=False, attention_multiplier=None, attention_bias=True),
    ),
)
