"""BLOOM: transformers' BloomForCausalLM, both places of the residual, and head counts that are no power of two."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor
from transformers import BloomConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Rename, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "n_layer": 3,
    "n_head": 12,
    "layer_norm_epsilon": 1e-2,
}


def bloom(
    seed: int,
    weights: Rename | None = None,
    respell: Respell | None = None,
    class_name: str = "BloomForCausalLM",
    **changes: Any,
) -> FromTransformers:
    """A tiny BLOOM with the given differences from SIZES."""
    config = BloomConfig(**SIZES | changes)
    # Its attention is written out, and has no other form.
    return make(class_name, config, seed, weights=weights, respell=respell, attention="eager")


def without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of bigscience's own files."""
    return {name.removeprefix("transformer."): value for name, value in tensors.items()}


def hub_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Return further keys of the published files, with another name for a size."""
    return {name: value for name, value in config.items() if name != "hidden_size"} | {
        "n_embed": config["hidden_size"],
        "seq_length": 64,
        "attention_softmax_in_fp32": True,
        "skip_bias_add": True,
        "masked_softmax_fusion": True,
        "bias_dropout_fusion": True,
        "offset_alibi": 100,
        "unk_token_id": 0,
        "pretraining_tp": 4,
        "skip_bias_add_qkv": False,
    }


CASES = (
    Case("plain", partial(bloom, 1), length=23),
    Case("hub-file", partial(bloom, 2, without_prefix, hub_keys, n_head=16, hidden_size=64), length=23),
    Case("residual-after-norm", partial(bloom, 13, apply_residual_connection_post_layernorm=True)),
    Case("fewer-heads", partial(bloom, 14, n_head=10)),
    Case(
        "classes",
        partial(bloom, 6, class_name="BloomForSequenceClassification", num_labels=3, pad_token_id=None),
        topology="encoder",
    ),
    Case("untied", partial(bloom, 5, tie_word_embeddings=False)),
)
