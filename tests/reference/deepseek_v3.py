"""DeepSeek V3: transformers' DeepseekV3ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import DeepseekV3Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.deepseek_v2 import SIZES, YARN
from tests.reference.minicpm3 import GAINS
from tests.reference.selection_bias import with_selection_biases
from tests.reference.spelling import older_rope

GROUPS: dict[str, Any] = {
    "n_routed_experts": 8,
    "n_group": 4,
    "topk_group": 2,
    "num_experts_per_tok": 3,
    "routed_scaling_factor": 1.7,
}
ONE_GROUP: dict[str, Any] = {"n_group": 1, "topk_group": 1, "routed_scaling_factor": 2.4}


def as_first_files(config: dict[str, Any]) -> dict[str, Any]:
    """The keys that only the first files have, at the values that they have there."""
    more = {"moe_layer_freq": 1, "scoring_func": "sigmoid", "topk_method": "noaux_tc", "num_nextn_predict_layers": 1}
    return older_rope(config) | more


def deepseek_v3(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of V2's."""
    config = DeepseekV3Config(**SIZES | changes)
    reference = make("DeepseekV3ForCausalLM", config, seed, gains=GAINS, respell=respell)
    return with_selection_biases(reference, seed)


CASES = (
    Case("groups", partial(deepseek_v3, 1, as_first_files, **GROUPS, rope_parameters=YARN), length=41),
    Case("one-group", partial(deepseek_v3, 2, **ONE_GROUP, q_lora_rank=None, norm_topk_prob=False)),
    Case("half", partial(deepseek_v3, 3, **ONE_GROUP, rope_interleave=False, attention_bias=True)),
)
