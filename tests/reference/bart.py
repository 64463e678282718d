"""BART: transformers' BartForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import BartConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Rename, Respell, make
from tests.reference.answering import Answering, with_logits_bias

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "d_model": 36,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 44,
    "decoder_ffn_dim": 52,
    "max_position_embeddings": 48,
    "decoder_start_token_id": 5,
    "pad_token_id": 1,
}

# The eps of the norms is a constant, 1e-5, which only sums of small numbers show: where the norms stand after the sums,
# they keep the stream small, and what reads it makes up for that. The last norm of each stack stays as it is.
SMALL: dict[str, float] = {
    "embed_tokens.weight": 1.0,
    "shared.weight": 0.01,
    "embed_positions.weight": 0.01,
    "layernorm_embedding.weight": 0.01,
    "layernorm_embedding.bias": 0.01,
    "layer_norm.weight": 0.01,
    "layer_norm.bias": 0.01,
    "out_proj.weight": 0.02,
    "out_proj.bias": 0.005,
    "fc2.weight": 0.1,
    "fc2.bias": 0.005,
    "q_proj.weight": 100.0,
    "k_proj.weight": 100.0,
    "fc1.weight": 100.0,
    "v_proj.weight": 10.0,
    "v_proj.bias": 0.03,
    "encoder_attn.k_proj.weight": 1.0,
    "encoder_attn.v_proj.weight": 1.0,
    "encoder_attn.out_proj.weight": 0.004,
    "encoder.layers.1.final_layer_norm.weight": 1.0,
    "encoder.layers.1.final_layer_norm.bias": 1.0,
    "decoder.layers.2.final_layer_norm.weight": 30.0,
    "decoder.layers.2.final_layer_norm.bias": 1.0,
}


def bart(seed: int, weights: Rename | None = None, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny BART with the given differences from SIZES."""
    config = BartConfig(**SIZES | changes)
    made = make(
        "BartForConditionalGeneration", config, seed, kind=Answering, gains=SMALL, weights=weights, respell=respell
    )
    return with_logits_bias(made, seed, 0.1)


def published(tensors: dict[str, Any]) -> dict[str, Any]:
    """The token table once more for each stack, as older files have it."""
    table = tensors["model.shared.weight"]
    return tensors | {f"model.{stack}.embed_tokens.weight": table.clone() for stack in ("encoder", "decoder")}


def forced(config: dict[str, Any]) -> dict[str, Any]:
    """Every answer goes on with one token after the start."""
    return config | {"forced_bos_token_id": 0, "add_final_layer_norm": False, "normalize_before": False}


Answer = partial(Case, topology="encoder-decoder")

CASES = (
    Answer("base", partial(bart, 1), lead=(5,)),
    Answer(
        "published", partial(bart, 2, published, forced, scale_embedding=True, activation_function="relu"), lead=(5, 0)
    ),
)
