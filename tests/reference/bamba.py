"""Bamba: transformers' BambaForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import BambaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.mamba2 import GAINS
from tests.reference.spelling import older_rope

HEADS: dict[str, Any] = {
    "mamba_n_heads": 6,
    "mamba_d_head": 12,
    "mamba_n_groups": 2,
    "mamba_d_state": 5,
    "mamba_chunk_size": 4,
}
SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
    **HEADS,
}


def hub_file(config: dict[str, Any]) -> dict[str, Any]:
    """As the published file spells it."""
    config = older_rope(config)
    for key in ("partial_rotary_factor", "layers_block_type", "layer_types"):
        config.pop(key, None)
    return config | {"attn_layer_indices": [1], "mamba_d_head": "auto", "attn_rotary_emb": None}


def bamba(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    rope = {"rope_type": "default", "rope_theta": 200.0}
    config = BambaConfig(**SIZES | {"attn_layer_indices": [1], "rope_parameters": rope} | changes)
    return make("BambaForCausalLM", config, seed, gains=GAINS, respell=respell, cached=False)


CASES = (
    Case("hub-file", partial(bamba, 1, hub_file)),
    Case("biases", partial(bamba, 2, mamba_proj_bias=True, attention_bias=True, mlp_bias=True, mamba_n_groups=1)),
)
