"""Hunyuan-A13B: transformers' HunYuanMoEV1ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import HunYuanMoEV1Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.hunyuan_v1_dense import SIZES
from tests.reference.hunyuan_v1_dense import published as dense_published


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of the published file, some of which have one number per layer."""
    count = config["num_hidden_layers"]
    lists = {"moe_topk": [config["moe_topk"]] * count, "num_shared_expert": [1] * count}
    return dense_published(config) | lists | {"use_mixed_mlp_moe": True, "moe_intermediate_size": [44] * count}


def hunyuan_v1_moe(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of the dense model's."""
    config = HunYuanMoEV1Config(**SIZES | {"num_experts": 5, "moe_topk": 3} | changes)
    return make("HunYuanMoEV1ForCausalLM", config, seed, respell=respell)


CASES = (
    Case("published", partial(hunyuan_v1_moe, 1, published)),
    Case("newer-file", partial(hunyuan_v1_moe, 2, attention_bias=True, moe_topk=2)),
)
