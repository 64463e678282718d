"""GPT-BigCode: transformers' GPTBigCodeForCausalLM, with one head of keys and values and with as many as of queries."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import GPTBigCodeConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.gpt2 import SIZES


def hub_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Return further keys of the published files."""
    server = {"inference_runner": 0, "max_batch_size": None, "pad_key_length": True, "validate_runner_input": True}
    return config | server | {"pre_allocate_kv_cache": False, "attention_softmax_in_fp32": True}


def gpt_bigcode(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from GPT-2's sizes."""
    return make("GPTBigCodeForCausalLM", GPTBigCodeConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("multi-query", partial(gpt_bigcode, 1, hub_keys, n_inner=92)),
    Case(
        "multi-head-untied",
        partial(gpt_bigcode, 2, multi_query=False, scale_attn_weights=False, tie_word_embeddings=False),
    ),
)
