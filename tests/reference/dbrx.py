"""DBRX: transformers' DbrxForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import DbrxConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make

EXPERTS: dict[str, Any] = {"ffn_hidden_size": 20, "moe_num_experts": 5, "moe_top_k": 3}

# A residual stream next to whose variance the eps of 1e-5 counts.
GAINS = {"wte.weight": 0.08, "out_proj.weight": 0.08, "mlp.w2": 0.08}


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The rotary base among the settings of attention alone."""
    return {key: value for key, value in config.items() if key != "rope_parameters"}


def dbrx(seed: int, respell: Respell | None = None, **experts: Any) -> FromTransformers:
    """A tiny model with the given settings of its experts."""
    config = DbrxConfig(
        vocab_size=97,
        d_model=60,
        n_heads=6,
        n_layers=3,
        max_seq_len=64,
        attn_config={"kv_n_heads": 2, "clip_qkv": 1.3, "rope_theta": 300.0},
        ffn_config=EXPERTS | experts,
        rope_parameters={"rope_type": "default", "rope_theta": 300.0},
    )
    return make("DbrxForCausalLM", config, seed, respell=respell, gains=GAINS)


CASES = (
    Case("published", partial(dbrx, 1, published)),
    Case("unnormalized", partial(dbrx, 2, moe_normalize_expert_weights=None, ffn_act_fn={"name": "gelu"})),
)
