"""Qwen4-Exp: transformers' Qwen4ExpForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers.models.qwen4_exp import Qwen4ExpTextConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference import qwen3_next

SIZES: dict[str, Any] = {
    key: value for key, value in qwen3_next.SIZES.items() if key not in ("intermediate_size", "layer_types")
} | {
    "num_hidden_layers": 3,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "hc_count": 3,
    "hc_lowrank": 7,
    "ple_layer_ids": [1, 3],
    "ple_embed_dim": 24,
    "ple_conv_kernel_size": 3,
    "ngram_size": 3,
    "heads_per_ngram": 2,
    "ngram_vocab_size_base": 40,
    "make_ngram_vocab_size_divisible_by": 8,
    "split_ngram_parts": 4,
    "seed": 7,
    "eos_token_id": [5, 6],
    "indexer_n_heads": 5,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 10,
    "indexer_budget": 6,
    "indexer_compress_ratio": 3,
}
GAINS = qwen3_next.GAINS | {"index_qk_proj.weight": 0.1}  # next to which the eps counts


def qwen4_exp(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    config = Qwen4ExpTextConfig(**SIZES | changes)
    made = make("Qwen4ExpForCausalLM", config, seed, gains=GAINS, cached=False, unit_offset=True)
    qwen3_next.shorten_keys(made.model)
    return made


CASES = (
    Case("memories", partial(qwen4_exp, 1), length=22),
    Case(
        "without-memories",
        partial(
            qwen4_exp,
            2,
            num_hidden_layers=2,
            layer_types=["linear_attention", "indexed_attention"],
            ple_layer_ids=None,
            hc_count=2,
            indexer_compress_ratio=4,
            indexer_budget=8,
            output_gate_type="sigmoid",
            norm_topk_prob=False,
            attention_bias=True,
        ),
        length=29,
    ),
)
