"""GLM-4.7-Flash: transformers' Glm4MoeLiteForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Glm4MoeLiteConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.deepseek_v2 import SIZES
from tests.reference.deepseek_v3 import GROUPS
from tests.reference.minicpm3 import GAINS
from tests.reference.selection_bias import with_selection_biases
from tests.reference.spelling import older_rope


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of the published file, which has no list of layers."""
    config = older_rope({key: value for key, value in config.items() if key != "mlp_layer_types"})
    more = {"first_k_dense_replace": 1, "topk_method": "noaux_tc", "num_nextn_predict_layers": 1}
    return config | more | {"partial_rotary_factor": 1.0}


def glm4_moe_lite(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of DeepSeek V2's."""
    sizes = {key: value for key, value in SIZES.items() if key != "first_k_dense_replace"}
    config = Glm4MoeLiteConfig(**sizes | changes)
    reference = make("Glm4MoeLiteForCausalLM", config, seed, gains=GAINS, respell=respell)
    return with_selection_biases(reference, seed)


CASES = (
    Case("published", partial(glm4_moe_lite, 1, published)),
    Case("by-list", partial(glm4_moe_lite, 2, **GROUPS, mlp_layer_types=["sparse", "dense"])),
)
