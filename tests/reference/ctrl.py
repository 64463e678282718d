"""CTRL: transformers' classes."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import CTRLConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "n_embd": 36,
    "dff": 52,
    "n_layer": 2,
    "n_head": 6,
    "n_positions": 64,
    "layer_norm_epsilon": 0.1,
}
GAINS = {
    "h.0.ffn.0.weight": 2.0,
    "dense.weight": 3.0,
    "ffn.2.weight": 3.0,
    "transformer.layernorm.weight": 30.0,
}


def ctrl(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny model of one of the classes.

    Its table takes the sinusoids of the first position away, which leaves small numbers that show the constant eps of
    the norms.
    """
    made = make(class_name, CTRLConfig(**SIZES | changes), seed, table=0.01, gains=GAINS)
    made.model.transformer.w.weight.data -= made.model.transformer.pos_encoding[0] / SIZES["n_embd"] ** 0.5
    return made


CASES = (
    Case("tied", partial(ctrl, "CTRLLMHeadModel", 1), tokens=24),
    Case("classes", partial(ctrl, "CTRLForSequenceClassification", 2, num_labels=3), topology="encoder"),
)
