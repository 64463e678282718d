"""BioGPT: transformers' BioGptForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import BioGptConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 48,
}
# The eps of the norms is a constant, 1e-5, which only a residual stream of small numbers shows.
SMALL: dict[str, float] = {
    "out_proj.weight": 0.005,
    "out_proj.bias": 0.005,
    "fc2.weight": 0.005,
    "fc2.bias": 0.005,
}


def biogpt(seed: int, table: float, final: float, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES, spread of token embeddings, and gain of the final norm."""
    gains = SMALL | {"biogpt.layer_norm.weight": final, "embed_positions.weight": 0.004 / table}
    return make("BioGptForCausalLM", BioGptConfig(**SIZES | changes), seed, gains=gains, table=table)


CASES = (
    Case("scaled", partial(biogpt, 1, 5e-4, 300.0)),
    Case("unscaled-untied", partial(biogpt, 2, 4e-3, 1.0, scale_embedding=False, tie_word_embeddings=False)),
)
