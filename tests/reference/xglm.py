"""XGLM: transformers' XGLMForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import XGLMConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.pegasus import gains

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "d_model": 36,
    "ffn_dim": 44,
    "num_layers": 3,
    "attention_heads": 6,
    "max_position_embeddings": 48,
}


def xglm(seed: int, **changes: Any) -> FromTransformers:
    """A tiny XGLM with the given differences from SIZES; its table shows the eps of norms as PEGASUS' does."""
    config = XGLMConfig(**SIZES | changes)
    scale = config.d_model**0.5 if config.scale_embedding else 1.0
    factors = gains(scale) | {"model.layer_norm.weight": 5.0 * scale}
    made = make("XGLMForCausalLM", config, seed, attention="eager", gains=factors)
    made.model.get_input_embeddings().weight.data -= made.model.model.embed_positions.weights[2] / scale
    return made


CASES = (
    Case("scaled", partial(xglm, 1, activation_function="relu"), tokens=24),
    Case("unscaled", partial(xglm, 1, scale_embedding=False), tokens=24),
)
