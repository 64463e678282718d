"""IQuest-Coder: transformers' LlamaForCausalLM under IQuestCoderConfig."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import IQuestCoderConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.llama import SIZES
from tests.reference.spelling import named


def hub_file(config: dict[str, Any]) -> dict[str, Any]:
    """The class of the authors' own code, and its options that no file uses."""
    config = named("iquestcoder", "IQuestCoderForCausalLM")(config)
    return config | {"clip_qkv": None, "use_sliding_window": False, "sliding_window": 4}


def iquestcoder(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of LLaMA's."""
    return make("LlamaForCausalLM", IQuestCoderConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("hub-file", partial(iquestcoder, 1, hub_file)),
    Case("biased", partial(iquestcoder, 2, attention_bias=True, mlp_bias=True)),
)
