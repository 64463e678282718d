"""InternLM2: the arithmetic of transformers' LlamaForCausalLM under InternLM2's names, q, k and v in one tensor."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.spelling import named

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.5}
NAMES = {
    "model.embed_tokens": "model.tok_embeddings",
    "lm_head": "output",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
}


def internlm2(
    seed: int, rope: dict[str, Any] | None = None, bias: bool = False, kv_heads: int = 2, trained: int = 64
) -> FromTransformers:
    """A tiny InternLM2; `rope` is its scaling, and `trained` the length that a dynamic one starts from."""
    sizes = SIZES | {"num_key_value_heads": kv_heads, "max_position_embeddings": trained}
    sizes["rope_parameters"] = SIZES["rope_parameters"] | (rope or {})

    def respell(config: dict[str, Any]) -> dict[str, Any]:
        config = named("internlm2", "InternLM2ForCausalLM")(config) | {"bias": bias, "attn_implementation": "eager"}
        return {key: value for key, value in config.items() if key not in ("attention_bias", "mlp_bias", "head_dim")}

    weights = partial(renamed, kv_heads=kv_heads)
    return make("LlamaForCausalLM", LlamaConfig(**sizes, attention_bias=bias), seed, respell=respell, weights=weights)


def renamed(tensors: dict[str, Tensor], kv_heads: int) -> dict[str, Tensor]:
    """InternLM2's names; the rows of each key/value head together: its queries, its key, its value."""
    result = {}
    for name, value in tensors.items():
        stem, _, suffix = name.rpartition(".")
        if stem.endswith("q_proj"):
            parts = [tensors[f"{stem[:-6]}{part}_proj.{suffix}"].unflatten(0, (kv_heads, -1)) for part in "qkv"]
            result[f"{stem[:-16]}attention.wqkv.{suffix}"] = torch.cat(parts, dim=1).flatten(0, 1)
        elif not stem.endswith(("k_proj", "v_proj")):
            for old, new in NAMES.items():
                stem = stem.replace(old, new)
            result[f"{stem}.{suffix}"] = value
    return result


CASES = (
    Case("grouped", partial(internlm2, 1)),
    Case("biased-every-key-head", partial(internlm2, 2, bias=True, kv_heads=6)),
    Case("linear", partial(internlm2, 3, {"rope_type": "linear", "factor": 2.5})),
    Case("dynamic", partial(internlm2, 4, DYNAMIC, trained=16), length=27, depends_on_calls=True),
)
