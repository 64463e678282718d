"""A.X K2: transformers' AXK2ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import AXK2Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell
from tests.reference.deepseek_v2 import SIZES, YARN
from tests.reference.deepseek_v3 import GROUPS
from tests.reference.deepseek_v32 import INDEXER, indexed
from tests.reference.minicpm3 import GAINS


def by_schedule(config: dict[str, Any]) -> dict[str, Any]:
    """A file without lists of layers."""
    config = {key: value for key, value in config.items() if not key.endswith("layer_types")}
    return config | {"first_k_dense_replace": 1, "moe_layer_freq": 1}


def axk2(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of DeepSeek V2's."""
    config = AXK2Config(**SIZES | INDEXER | {"n_group": None, "topk_group": None, "gated_norm_rank": 5} | changes)
    reference = indexed("AXK2ForCausalLM", config, seed, respell)
    for layer in reference.model.model.layers:
        # Queries and, next to them, gates of each head; the latent before its norm is as small as that of keys.
        rows = layer.self_attn.q_gate_proj.weight.data.unflatten(0, (config.num_attention_heads, -1))
        rows[:, : config.qk_head_dim] *= GAINS["q_b_proj.weight"]
        rows[:, :, config.q_lora_rank :] *= 500.0
        rows[:, : config.qk_head_dim, config.q_lora_rank :] *= 0.5
    return reference


CASES = (
    Case("by-schedule", partial(axk2, 1, by_schedule, gated_norm_rank=7), length=17),
    # Weights with which no two keys of the first prompt tie: which of equal ones is selected is up to the library.
    Case(
        "groups",
        partial(axk2, 10, **GROUPS, rope_parameters=YARN, attention_bias=True, mlp_layer_types=["sparse", "dense"]),
        length=41,
    ),
)
