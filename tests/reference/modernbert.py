"""ModernBERT: transformers' classes, with windows shorter than the prompt, and the keys of its published files."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import ModernBertConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "max_position_embeddings": 40,
    "norm_eps": 1e-1,
    "local_attention": 6,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 1500.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 90.0},
    },
}
EVERY_BIAS: dict[str, Any] = {
    "norm_bias": True,
    "attention_bias": True,
    "mlp_bias": True,
    "classifier_bias": True,
    "decoder_bias": False,
}


def modernbert(class_name: str, seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny ModernBERT of one of the classes."""
    return make(class_name, ModernBertConfig(**SIZES | changes), seed, respell=respell)


def published_keys(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of layer types as published files spell them."""
    rope = config.pop("rope_parameters")
    del config["layer_types"]
    return config | {
        "global_attn_every_n_layers": 3,
        "global_rope_theta": rope["full_attention"]["rope_theta"],
        "local_rope_theta": rope["sliding_attention"]["rope_theta"],
        "position_embedding_type": "absolute",
        "layer_norm_eps": 1e-5,
        "reference_compile": None,
        "repad_logits_with_grad": False,
    }


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(modernbert, "ModernBertForMaskedLM", 1)),
    Encoder("model", partial(modernbert, "ModernBertModel", 12, local_attention=9, intermediate_size=164)),
    Encoder(
        "classes-of-mean",
        partial(modernbert, "ModernBertForSequenceClassification", 5, num_labels=3, classifier_pooling="mean"),
    ),
    Encoder("tokens", partial(modernbert, "ModernBertForTokenClassification", 6, norm_bias=True, classifier_bias=True)),
    Encoder("published-file", partial(modernbert, "ModernBertForMaskedLM", 3, published_keys)),
    Encoder("biased", partial(modernbert, "ModernBertForMaskedLM", 4, **EVERY_BIAS, hidden_activation="silu")),
    Encoder(
        "untied",
        partial(
            modernbert,
            "ModernBertForMaskedLM",
            5,
            tie_word_embeddings=False,
            classifier_activation="relu",
            layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
        ),
    ),
)
