"""PEGASUS: transformers' PegasusForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import PegasusConfig, PreTrainedModel

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.bart import SIZES
from tests.reference.mbart import biased


def gains(scale: float) -> dict[str, float]:
    """Factors on parameters for a stream of small numbers, and a last norm that makes up for them."""
    return {
        "shared.weight": 0.2 / scale,
        "embed_tokens.weight": 0.2 / scale,
        "out_proj.weight": 0.05,
        "out_proj.bias": 0.05,
        "fc2.weight": 0.05,
        "fc2.bias": 0.05,
        "decoder.layer_norm.weight": 5.0 * scale,
    }


def pegasus(seed: int, **changes: Any) -> FromTransformers:
    """A tiny PEGASUS with the given differences from SIZES.

    Its sinusoids are a formula's and do not become small. A table that takes those of the first position away leaves
    small numbers there, which show the constant eps of the norms.
    """
    config = PegasusConfig(**SIZES | changes)
    scale = config.d_model**0.5 if config.scale_embedding else 1.0
    tables: dict[str, Any] = {}

    def keep(model: PreTrainedModel) -> None:
        tables.update({n: p.detach().clone() for n, p in model.named_parameters() if "embed_positions" in n})

    class_name = "PegasusForConditionalGeneration"
    made = biased(class_name, config, seed, gains(scale), prepare=keep, outside=["embed_positions"])
    for name, table in tables.items():
        made.model.get_parameter(name).data.copy_(table)
        made.model.get_input_embeddings().weight.data -= table[0] / scale / len(tables)
    return made


Answer = partial(Case, topology="encoder-decoder", lead=(5,), tokens=24)
CASES = (
    Answer("base", partial(pegasus, 1)),
    Answer("scaled", partial(pegasus, 3, scale_embedding=True, activation_function="relu")),
)
