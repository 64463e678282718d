"""LLaMA: transformers' LlamaForCausalLM, plain and with every rope scaling, at prompts past the trained length."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import LlamaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 96,
    "rms_norm_eps": 1e-1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
}

YARN: dict[str, Any] = {
    "rope_type": "yarn",
    "factor": 4.0,
    "beta_fast": 1.2,
    "beta_slow": 0.3,
    "original_max_position_embeddings": 24,
}


def llama(
    seed: int,
    rope: dict[str, Any] | None = None,
    shard_bytes: int | None = None,
    class_name: str = "LlamaForCausalLM",
    **changes: Any,
) -> FromTransformers:
    """A tiny LLaMA with the given differences from SIZES."""
    sizes = SIZES | changes
    if rope is not None:
        sizes["rope_parameters"] = {"rope_theta": 300.0, **rope}
    return make(class_name, LlamaConfig(**sizes), seed, shard_bytes=shard_bytes)


def long(name: str, seed: int, rope: dict[str, Any], **changes: Any) -> Case:
    """A case whose prompts are longer than the trained length."""
    rope = {"original_max_position_embeddings": 16, **rope}
    return Case(name, partial(llama, seed, rope, **changes), length=41)


Without = partial(Case, topology="encoder")  # a cache

CASES = (
    Case("first", partial(llama, 1, num_key_value_heads=6, head_dim=10, tie_word_embeddings=False)),
    Case("grouped", partial(llama, 2, head_dim=14, tie_word_embeddings=False)),
    Case("biased", partial(llama, 3, attention_bias=True, mlp_bias=True)),
    Case("tied", partial(llama, 4, tie_word_embeddings=True)),
    Without("classes", partial(llama, 13, class_name="LlamaForSequenceClassification", num_labels=3)),
    Without("tokens", partial(llama, 14, class_name="LlamaForTokenClassification", num_labels=5)),
    Without("spans", partial(llama, 15, class_name="LlamaForQuestionAnswering")),
    Without("model", partial(llama, 16, class_name="LlamaModel")),
    Case("sharded", partial(llama, 5, shard_bytes=60_000)),
    Case("linear", partial(llama, 6, {"rope_type": "linear", "factor": 3.0}), length=41),
    Case(
        "dynamic",
        partial(llama, 7, {"rope_type": "dynamic", "factor": 3.0}, max_position_embeddings=16),
        length=31,
        depends_on_calls=True,
    ),
    long("llama3", 8, {"rope_type": "llama3", "factor": 6.0, "low_freq_factor": 0.7, "high_freq_factor": 3.0}),
    long("yarn", 9, YARN),
    long("yarn-factor", 10, YARN | {"attention_factor": 0.8}),
    long("yarn-mscale", 11, YARN | {"mscale": 1.7, "mscale_all_dim": 0.6}),
    long("yarn-untruncated", 12, YARN | {"truncate": False}),
)
