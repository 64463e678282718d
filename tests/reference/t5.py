"""T5: transformers' T5ForConditionalGeneration, as 1.0 and as 1.1."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, T5Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.answering import Answering

# Eight buckets and the farthest at 11: of a row of 13, some distances share a bucket, and some are past the last.
SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "d_model": 36,
    "d_kv": 8,
    "d_ff": 44,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 11,
    "layer_norm_epsilon": 1e-1,
    "decoder_start_token_id": 3,
}
START = (3,)


def answering(
    class_name: str,
    config: PreTrainedConfig,
    seed: int,
    tie: bool,
    kind: type[FromTransformers] = Answering,
    **options: Any,
) -> FromTransformers:
    """A tiny model of a T5 class."""
    gains = {
        "relative_attention_bias.weight": 5.0,
        "wo.weight": 3.0,
        "shared.weight": 3.0 if tie else 1.0,
        # T5 scales no scores: its queries' weights begin that much smaller instead (Raffel et al. 2020).
        "q.weight": SIZES["d_kv"] ** -0.5,
    }
    return make(
        class_name,
        config,
        seed,
        kind=kind,
        attention="eager",
        gains=gains,
        prepare=(lambda model: None) if tie else untie,
        **options,
    )


def untie(model: PreTrainedModel) -> None:
    """Gives the head a matrix of its own, as published files have it; the classes tie every new one."""
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.clone())
    model.config.tie_word_embeddings = False


def t5(seed: int, tie: bool = True, **changes: Any) -> FromTransformers:
    """A tiny T5 with the given differences from SIZES."""
    return answering("T5ForConditionalGeneration", T5Config(**SIZES | changes, tie_word_embeddings=tie), seed, tie)


Answer = partial(Case, topology="encoder-decoder", lead=START)

CASES = (
    Answer("1.0", partial(t5, 1)),
    Answer("1.1", partial(t5, 2, tie=False, feed_forward_proj="gated-gelu")),
    Answer("gated-silu", partial(t5, 3, feed_forward_proj="gated-silu", d_kv=9, num_decoder_layers=2)),
)
