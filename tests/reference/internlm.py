"""InternLM: the arithmetic of transformers' LlamaForCausalLM with biases on q, k, v and o, under InternLM's keys."""

from __future__ import annotations

from functools import partial
from typing import Any

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
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
}


def internlm(seed: int, rotary: dict[str, Any] | None = None, bias: bool = True) -> FromTransformers:
    """A tiny InternLM; `rotary` is the key of later files, whose dynamic scaling has the factor 1 unless it says."""
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": rotary["base"] if rotary else 10000.0}
    if rotary is not None and rotary["type"] == "dynamic":
        rope |= {"rope_type": "dynamic", "factor": rotary.get("scaling_factor", 1.0)}

    def respell(config: dict[str, Any]) -> dict[str, Any]:
        config = named("internlm", "InternLMForCausalLM")(config) | {"bias": bias}
        written = {"rotary": rotary} if rotary is not None else {}
        absent = ("attention_bias", "mlp_bias", "head_dim", "num_key_value_heads", "rope_theta", "rope_scaling")
        return {key: value for key, value in config.items() if key not in absent} | written

    trained = {"max_position_embeddings": 14} if rope["rope_type"] == "dynamic" else {}
    config = LlamaConfig(**SIZES | trained, attention_bias=bias, rope_parameters=rope)
    return make("LlamaForCausalLM", config, seed, respell=respell)


def dynamic(name: str, seed: int, rotary: dict[str, Any]) -> Case:
    """A case whose prompts are longer than the trained length, 14."""
    return Case(name, partial(internlm, seed, rotary={"type": "dynamic", **rotary}), length=27, depends_on_calls=True)


CASES = (
    Case("first-files", partial(internlm, 1)),
    Case("unbiased", partial(internlm, 2, bias=False)),
    Case("origin", partial(internlm, 3, rotary={"base": 300, "type": "origin"})),
    dynamic("dynamic", 4, {"base": 250}),
    dynamic("dynamic-factor", 5, {"base": 250, "scaling_factor": 2.5}),
)
