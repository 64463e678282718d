"""FlexOlmo: transformers' FlexOlmoForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import FlexOlmoConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.olmoe import SIZES
from tests.reference.spelling import older_rope


def flex_olmo(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of OLMoE's."""
    return make("FlexOlmoForCausalLM", FlexOlmoConfig(**SIZES | changes), seed, respell=respell)


CASES = (Case("published", partial(flex_olmo, 1, older_rope)),)
