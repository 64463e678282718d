"""K-EXAONE: transformers' ExaoneMoeForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import ExaoneMoeConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.glm4_moe import SIZES as GLM_SIZES
from tests.reference.selection_bias import with_selection_biases
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {key: value for key, value in GLM_SIZES.items() if key != "n_routed_experts"} | {
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    "num_experts": 8,
    "num_hidden_layers": 4,
    "sliding_window": 4,
}


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of the published file."""
    config = older_rope({key: value for key, value in config.items() if key != "mlp_layer_types"})
    more = {"scoring_func": "sigmoid", "topk_method": "noaux_tc", "num_nextn_predict_layers": 1}
    return config | more | {"sliding_window_pattern": "LLLG", "is_moe_layer": [False, True, True, True]}


def exaone_moe(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    reference = make("ExaoneMoeForCausalLM", ExaoneMoeConfig(**SIZES | changes), seed, respell=respell)
    return with_selection_biases(reference, seed)


CASES = (
    Case("published", partial(exaone_moe, 1, published, num_shared_experts=2)),
    Case("by-list", partial(exaone_moe, 2, n_group=4, topk_group=2, mlp_layer_types=["sparse", "dense"] * 2)),
)
