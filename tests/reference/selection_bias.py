"""Selection biases of routers, which classes of transformers keep as buffers of zeros."""

from __future__ import annotations

from torch import nn

from archc.proof.from_transformers import FromTransformers
from archc.proof.random_weights import normal

NAME = "e_score_correction_bias"


def with_selection_biases(reference: FromTransformers, seed: int) -> FromTransformers:
    """The reference with random biases among its parameters."""
    for name, module in list(reference.model.named_modules()):
        bias = module._buffers.pop(NAME, None)
        if bias is not None:
            module.register_parameter(NAME, nn.Parameter(0.5 * normal(name, tuple(bias.shape), seed)))
    return reference
