"""Hy3: transformers' HYV3ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import HYV3Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.qwen3_moe import SIZES
from tests.reference.selection_bias import with_selection_biases


def without_list(config: dict[str, Any]) -> dict[str, Any]:
    """A file that leaves the kinds of layers to their default."""
    return {key: value for key, value in config.items() if key != "mlp_layer_types"}


def hy_v3(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of Qwen3's mixture."""
    sizes = {key: value for key, value in SIZES.items() if key != "norm_topk_prob"}
    reference = make("HYV3ForCausalLM", HYV3Config(**sizes | changes), seed, respell=respell)
    return with_selection_biases(reference, seed)


CASES = (
    Case("default-layers", partial(hy_v3, 1, without_list)),
    Case(
        "by-list",
        partial(hy_v3, 2, mlp_layer_types=["sparse", "dense", "sparse"], num_shared_experts=2, attention_bias=True),
    ),
)
