"""RWKV-4, by transformers' class; its checkpoint also under the names of the original files."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import RwkvConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

# A name's parts in the class, and in the original files.
_PARTS = {
    "embeddings": "emb",
    "pre_ln": "ln0",
    "attention": "att",
    "feed_forward": "ffn",
    "time_mix_key": "time_mix_k",
    "time_mix_value": "time_mix_v",
    "time_mix_receptance": "time_mix_r",
}


def original(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of the original files."""
    return {original_name(name): value for name, value in weights.items()}


def original_name(name: str) -> str:
    """The name of a tensor in the original files."""
    return ".".join(_PARTS.get(part, part) for part in name.removeprefix("rwkv.").split("."))


def rwkv(seed: int, *, layers: int = 3, **more: Any) -> FromTransformers:
    """Random weights; decays of every strength, and keys large enough for exponents to matter.

    The stream is small, so that the last norm's epsilon of 1e-5 counts.
    """
    options = {name: more.pop(name) for name in ("weights",) if name in more}
    config = RwkvConfig(
        vocab_size=97,
        hidden_size=24,
        num_hidden_layers=layers,
        context_length=64,
        **{"layer_norm_epsilon": 1e-4, "rescale_every": 0, **more},
    )
    gains = {
        "time_decay": 3.0,
        "attention.key.weight": 4.0,
        "time_first": 3.0,
        "pre_ln.weight": 0.02,
        "pre_ln.bias": 0.02,
        "attention.output.weight": 0.05,
        "feed_forward.value.weight": 0.05,
    }
    return make("RwkvForCausalLM", config, seed, gains=gains, table=0.1, cached=False, attention="eager", **options)


CASES = (
    Case("pile", lambda: rwkv(1, intermediate_size=56), length=21),
    Case("original-names", lambda: rwkv(2, weights=original, attention_hidden_size=32, layers=2)),
    Case("rescaled", lambda: rwkv(4, rescale_every=2, layer_norm_epsilon=0.01, layers=5)),
    Case("tied", lambda: rwkv(3, tie_word_embeddings=True, layers=4)),
)
