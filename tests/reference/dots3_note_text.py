"""The text model of dots 3 note: transformers' Dots3NoteForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers.models.dots3_note import Dots3NoteTextConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell
from tests.reference.deepseek_v2 import SIZES
from tests.reference.deepseek_v3 import GROUPS
from tests.reference.deepseek_v32 import INDEXER, indexed

# Latents next to which the eps of the layers counts.
SMALL = {"q_a_proj.weight": 0.1, "kv_a_proj_with_mqa.weight": 0.1, "q_b_proj.weight": 2.0, "o_proj.weight": 3.0}
SLIDING: dict[str, Any] = {
    "num_hidden_layers": 3,
    "sliding_window_size": 4,
    "rope_theta": 300.0,
    "swa_rope_theta": 30.0,
    "swa_num_attention_heads": 2,
    "swa_num_key_value_heads": 2,
    "swa_q_lora_rank": 13,
    "swa_kv_lora_rank": 15,
    "swa_head_dim": 11,
    "swa_qk_nope_head_dim": 5,
    "swa_v_head_dim": 9,
    "moe_shared_expert_intermediate_size": 11,
}


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of the published file, without settings by layer."""
    others = ("layer_types", "mlp_layer_types", "rope_parameters", "per_layer_config", "sliding_window")
    written = {key: value for key, value in config.items() if key not in others}
    return written | SLIDING | {"first_k_dense_replace": 1}


def dots3_note(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of DeepSeek V2's."""
    sizes = {key: value for key, value in SIZES.items() if key != "rope_parameters"}
    one_group = {"n_group": 1, "topk_group": 1, "head_dim": 14, "pad_token_id": None}
    config = Dots3NoteTextConfig(**sizes | INDEXER | SLIDING | one_group | changes)
    return indexed("Dots3NoteForCausalLM", config, seed, respell, SMALL)


CASES = (
    Case("published", partial(dots3_note, 1, published), length=16),
    Case(
        "by-layer",
        partial(dots3_note, 2, **GROUPS, layer_types=["full_attention", "sliding_attention"], num_hidden_layers=2),
        length=29,
    ),
)
