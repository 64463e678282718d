"""Nomic BERT: transformers' classes, and the keys of the authors' config.json."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import NomicBertConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 40,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 90.0},
}


def nomic_bert(class_name: str, seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny Nomic BERT of one of the classes."""
    return make(class_name, NomicBertConfig(**SIZES | changes), seed, respell=respell)


def authors_keys(config: dict[str, Any]) -> dict[str, Any]:
    """The settings as the authors' code spells them."""
    return {
        "architectures": config["architectures"],
        "model_type": config["model_type"],
        "vocab_size": config["vocab_size"],
        "n_embd": config["hidden_size"],
        "n_inner": config["intermediate_size"],
        "n_layer": config["num_hidden_layers"],
        "n_head": config["num_attention_heads"],
        "n_positions": config["max_position_embeddings"],
        "type_vocab_size": config["type_vocab_size"],
        "layer_norm_epsilon": config["layer_norm_eps"],
        "activation_function": "swiglu",
        "rotary_emb_base": config["rope_parameters"]["rope_theta"],
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None,
        "rotary_scaling_factor": None,
        "causal": False,
        "dense_seq_output": True,
        "fused_bias_fc": True,
        "max_trained_positions": 2048,
        "mlp_fc1_bias": False,
        "pad_vocab_size_multiple": 64,
        "prenorm": False,
        "qkv_proj_bias": False,
        "scale_attn_weights": True,
        "use_rms_norm": False,
        "use_xentropy": True,
    }


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(nomic_bert, "NomicBertForMaskedLM", 1, head_dim=14, hidden_act="relu")),
    Encoder("published-keys", partial(nomic_bert, "NomicBertModel", 2, authors_keys)),
)
