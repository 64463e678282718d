"""Solar Open: transformers' SolarOpenForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import SolarOpenConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.deepseek_v2 import YARN
from tests.reference.glm4_moe import SIZES as GLM_SIZES
from tests.reference.selection_bias import with_selection_biases
from tests.reference.spelling import older_rope

_OTHERS = ("intermediate_size", "rope_parameters")
SIZES: dict[str, Any] = {key: value for key, value in GLM_SIZES.items() if key not in _OTHERS}


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of the published file."""
    more = {"intermediate_size": 44, "first_k_dense_replace": 0, "use_qk_norm": False, "partial_rotary_factor": 1.0}
    return older_rope(config) | more


def solar_open(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    config = SolarOpenConfig(**SIZES | {"rope_parameters": YARN} | changes)
    return with_selection_biases(make("SolarOpenForCausalLM", config, seed, respell=respell), seed)


CASES = (
    Case("groups", partial(solar_open, 2, n_group=4, topk_group=2, attention_bias=True)),
    Case("published", partial(solar_open, 1, published), length=41),
)
