"""GLM 5: transformers' GlmMoeDsaForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import GlmMoeDsaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell
from tests.reference.deepseek_v2 import SIZES
from tests.reference.deepseek_v3 import GROUPS, ONE_GROUP
from tests.reference.deepseek_v32 import INDEXER, indexed, published


def by_schedule(config: dict[str, Any]) -> dict[str, Any]:
    """A file with the schedule of selections instead of their list."""
    config = {key: value for key, value in published(config).items() if key != "indexer_types"}
    return config | {"index_topk_freq": 2, "index_skip_topk_offset": 1, "indexer_rope_interleave": True}


def glm_moe_dsa(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of DeepSeek V2's."""
    return indexed("GlmMoeDsaForCausalLM", GlmMoeDsaConfig(**SIZES | INDEXER | changes), seed, respell)


CASES = (
    Case(
        "by-schedule",
        partial(
            glm_moe_dsa, 1, by_schedule, **ONE_GROUP, num_hidden_layers=3, index_topk_freq=2, index_skip_topk_offset=1
        ),
        length=15,
    ),
    Case(
        "by-list", partial(glm_moe_dsa, 2, **GROUPS, indexer_types=["full", "shared"], attention_bias=True), length=29
    ),
)
