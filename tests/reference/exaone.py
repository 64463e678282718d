"""EXAONE 3 and 3.5: the arithmetic of transformers' LlamaForCausalLM under the keys and names of EXAONE."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor
from transformers import LlamaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.deepseek_llm import SIZES
from tests.reference.spelling import named

SCALED: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 300.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 24,
}
KEYS = {"num_hidden_layers": "num_layers", "rms_norm_eps": "layer_norm_epsilon", "hidden_act": "activation_function"}
NAMES = {
    "model.layers": "transformer.h",
    "model.embed_tokens": "transformer.wte",
    "model.norm": "transformer.ln_f",
    "input_layernorm": "ln_1",
    "post_attention_layernorm": "ln_2",
    "self_attn.o_proj": "self_attn.out_proj",
    "self_attn": "attn.attention",
    "mlp.gate_proj": "mlp.c_fc_0",
    "mlp.up_proj": "mlp.c_fc_1",
    "mlp.down_proj": "mlp.c_proj",
}


def exaone(seed: int, **changes: Any) -> FromTransformers:
    """A tiny EXAONE with the given differences from SIZES."""
    return make("LlamaForCausalLM", LlamaConfig(**SIZES | changes), seed, respell=respelled, weights=renamed)


def respelled(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of EXAONE's files."""
    config = named("exaone", "ExaoneForCausalLM")(config) | {"embed_dropout": 0.0}
    absent = ("attention_bias", "mlp_bias", "pretraining_tp")
    return {KEYS.get(key, key): value for key, value in config.items() if key not in absent}


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of EXAONE's files."""
    result = {}
    for name, value in tensors.items():
        for old, new in NAMES.items():
            name = name.replace(old, new)
        result[name] = value
    return result


CASES = (
    Case("first", partial(exaone, 1)),
    Case("tied-scaled", partial(exaone, 2, tie_word_embeddings=True, rope_parameters=SCALED, head_dim=8), length=31),
)
