"""InternLM3: transformers' LlamaForCausalLM under InternLM3Config."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import InternLM3Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.llama import SIZES
from tests.reference.spelling import named


def hub_file(config: dict[str, Any]) -> dict[str, Any]:
    """The names of the authors' own code."""
    config = named("internlm3", "InternLM3ForCausalLM")(config)
    return config | {"qkv_bias": config.pop("attention_bias"), "bias": config.pop("mlp_bias")}


def internlm3(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of LLaMA's."""
    return make("LlamaForCausalLM", InternLM3Config(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("hub-file", partial(internlm3, 1, hub_file)),
    Case("biased", partial(internlm3, 2, attention_bias=True, mlp_bias=True)),
)
