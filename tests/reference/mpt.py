"""MPT: transformers' MptForCausalLM, with clipped projections, other slopes, and head counts of every kind."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import MptConfig
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "d_model": 60,
    "n_layers": 3,
    "n_heads": 12,
    "max_seq_len": 64,
    "layer_norm_epsilon": 1e-2,
}


def mpt(
    seed: int, attention: dict[str, Any] | None = None, respell: Respell | None = None, **changes: Any
) -> FromTransformers:
    """A tiny MPT with the given differences from SIZES; `attention` are its attn_config's."""
    config = MptConfig(**SIZES | changes, attn_config=attention)
    # Its attention is written out, and has no other form.
    reference = make("MptForCausalLM", config, seed, respell=respell, attention="eager")
    # The class leaves alibi_bias_max out of account, which the published code (mosaicml/mpt-7b, attention.py) does not.
    biases = partial(build_mpt_alibi_tensor, alibi_bias_max=config.attn_config.alibi_bias_max)
    reference.model.transformer.build_mpt_alibi_tensor = biases
    return reference


def hub_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Return the attention keys of the published files."""
    attention = {
        "alibi": True,
        "alibi_bias_max": 8,
        "attn_impl": "torch",
        "attn_pdrop": 0,
        "attn_type": "multihead_attention",
        "attn_uses_sequence_id": False,
        "clip_qkv": None,
        "prefix_lm": False,
        "qk_ln": False,
        "softmax_scale": None,
    }
    return config | {
        "attn_config": attention,
        "init_config": {"name": "kaiming_normal_", "verbose": 0},
        "verbose": 0,
        "tokenizer_name": "EleutherAI/gpt-neox-20b",
        "architectures": ["MPTForCausalLM"],
    }


CASES = (
    Case("plain", partial(mpt, 1), length=23),
    Case("hub-file", partial(mpt, 2, None, hub_keys, n_heads=16, d_model=64), length=23),
    Case("clipped", partial(mpt, 3, {"clip_qkv": 0.7, "alibi_bias_max": 3}, n_heads=10), length=23),
    Case("scaled", partial(mpt, 4, {"softmax_scale": 0.2}, tie_word_embeddings=False)),
)
