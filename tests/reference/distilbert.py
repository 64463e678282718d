"""DistilBERT: transformers' classes, with the head and without."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import DistilBertConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Rename, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "dim": 60,
    "hidden_dim": 92,
    "n_layers": 3,
    "n_heads": 6,
    "max_position_embeddings": 40,
}


# With these factors the numbers before each norm are so small that its eps, a constant of 1e-12, shows.
TINY: dict[str, float] = {
    "embeddings.weight": 1e-6,
    "LayerNorm.weight": 1e-6,
    "LayerNorm.bias": 1e-6,
    "q_lin.weight": 1e6,
    "k_lin.weight": 1e6,
    "v_lin.bias": 1e-6,
    "out_lin.bias": 1e-6,
    "sa_layer_norm.weight": 1e-6,
    "sa_layer_norm.bias": 1e-6,
    "lin1.weight": 1e6,
    "lin2.weight": 1e-6,
    "lin2.bias": 1e-6,
    "output_layer_norm.weight": 1e-6,
    "output_layer_norm.bias": 1e-6,
    "layer.2.output_layer_norm.weight": 1.0,
    "layer.2.output_layer_norm.bias": 1.0,
    "vocab_transform.weight": 1e-6,
    "vocab_transform.bias": 1e-6,
}


def distilbert(
    class_name: str, seed: int, weights: Rename | None = None, eps: float = 1e-1, **changes: Any
) -> FromTransformers:
    """A tiny DistilBERT of one of the classes, its norms with an eps that its config cannot say."""

    def respell(config: dict[str, Any]) -> dict[str, Any]:
        return config | {"layer_norm_eps": eps}

    reference = make(class_name, DistilBertConfig(**SIZES | changes), seed, weights=weights, respell=respell)
    for module in reference.model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps
    return reference


def unchanged(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A class with its own eps. Its activation is the one whose kind shows in tiny numbers."""
    return make(class_name, DistilBertConfig(**SIZES | changes, activation="relu"), seed, gains=TINY)


def with_projector(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tied projection written out, as published files have it."""
    table = tensors["distilbert.embeddings.word_embeddings.weight"]
    return tensors | {"vocab_projector.weight": table.clone()}


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(distilbert, "DistilBertForMaskedLM", 1)),
    Encoder("masked-lm-tiny-numbers", partial(unchanged, "DistilBertForMaskedLM", 5, tie_word_embeddings=False)),
    Encoder("classes", partial(distilbert, "DistilBertForSequenceClassification", 7, num_labels=3)),
    Encoder("model", partial(distilbert, "DistilBertModel", 2)),
    Encoder("model-tiny-numbers", partial(unchanged, "DistilBertModel", 6)),
    Encoder(
        "published-file", partial(distilbert, "DistilBertForMaskedLM", 3, with_projector, sinusoidal_pos_embds=True)
    ),
    Encoder("untied", partial(distilbert, "DistilBertForMaskedLM", 4, tie_word_embeddings=False)),
)
