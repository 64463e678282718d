"""Marian: transformers' MarianMTModel, with one token table for all and with one for each language."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import MarianConfig, PreTrainedModel
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Rename, make
from tests.reference.answering import Answering, with_logits_bias
from tests.reference.bart import SIZES as BART_SIZES
from tests.reference.bart import SMALL as BART_SMALL

SIZES = BART_SIZES | {"activation_function": "swish", "scale_embedding": True, "pad_token_id": 88}
# The sinusoids are a formula's, and do not become small: here no norm of the first layer sees small sums.
SMALL = BART_SMALL | {
    "shared.weight": 0.5,
    "embed_tokens.weight": 0.5,
    "embed_positions.weight": 1.0,
    "layers.0.self_attn.q_proj.weight": 1.0,
    "layers.0.self_attn.k_proj.weight": 1.0,
    "decoder.layers.2.final_layer_norm.weight": 2.0,
    "decoder.layers.2.final_layer_norm.bias": 0.5,
}


def marian(seed: int, weights: Rename | None = None, **changes: Any) -> FromTransformers:
    """A tiny Marian with the given differences from SIZES."""
    config = MarianConfig(**SIZES | changes)
    tables: dict[str, Any] = {}

    def keep(model: PreTrainedModel) -> None:
        tables.update({n: p.detach().clone() for n, p in model.named_parameters() if "embed_positions" in n})

    made = make(
        "MarianMTModel",
        config,
        seed,
        kind=Answering,
        gains=SMALL,
        weights=weights,
        prepare=keep,
        outside=["embed_positions"],
    )
    for name, table in tables.items():
        made.model.get_parameter(name).data.copy_(table)
    return with_logits_bias(made, seed, 0.3)


def published(tensors: dict[str, Any]) -> dict[str, Any]:
    """The tables that the formula gives, as older files have them."""
    table = MarianSinusoidalPositionalEmbedding(SIZES["max_position_embeddings"], SIZES["d_model"]).create_weight()
    return tensors | {f"model.{stack}.embed_positions.weight": table.clone() for stack in ("encoder", "decoder")}


Answer = partial(Case, topology="encoder-decoder", lead=(5,))

CASES = (
    Answer("shared", partial(marian, 1, published)),
    Answer(
        "by-language",
        partial(marian, 2, share_encoder_decoder_embeddings=False, decoder_vocab_size=89),
    ),
)
