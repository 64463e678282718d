"""DeepSeek V3.2: transformers' DeepseekV32ForCausalLM."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from transformers import DeepseekV32Config, PreTrainedConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Indexed, Respell, make
from tests.reference.deepseek_v2 import SIZES, YARN
from tests.reference.deepseek_v3 import GROUPS, ONE_GROUP, as_first_files
from tests.reference.minicpm3 import GAINS
from tests.reference.selection_bias import with_selection_biases

# Enough heads that no score is a sum of zeros, of which several keys would have the same.
INDEXER: dict[str, Any] = {"index_n_heads": 11, "index_head_dim": 14, "index_topk": 8}
KEYS = {"indexer.wk.weight": 1e-3}  # next to which the eps of 1e-6 counts


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of the published file, which has no lists of layers."""
    return as_first_files({key: value for key, value in config.items() if not key.endswith("layer_types")})


def indexed(
    class_name: str,
    config: PreTrainedConfig,
    seed: int,
    respell: Respell | None = None,
    gains: Mapping[str, float] = GAINS,
) -> FromTransformers:
    """A tiny model of a class with indexers."""
    reference = make(class_name, config, seed, gains={**gains, **KEYS}, respell=respell, kind=Indexed)
    return with_selection_biases(reference, seed)


def deepseek_v32(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of V2's."""
    return indexed("DeepseekV32ForCausalLM", DeepseekV32Config(**SIZES | INDEXER | changes), seed, respell)


CASES = (
    Case("published", partial(deepseek_v32, 1, published, **ONE_GROUP), length=17),
    Case(
        "groups-by-list-biased",
        partial(
            deepseek_v32, 2, **GROUPS, rope_parameters=YARN, attention_bias=True, mlp_layer_types=["sparse", "dense"]
        ),
        length=41,
    ),
)
