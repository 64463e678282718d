"""ESM C: transformers' classes."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import EsmcConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.eurobert import EVERY_BIAS
from tests.reference.eurobert import SIZES as EUROBERT_SIZES

SIZES = {key: value for key, value in EUROBERT_SIZES.items() if key not in ("rms_norm_eps", "num_key_value_heads")}

# With these factors the numbers before each norm are so small that its eps, a constant of 1e-5, shows.
SMALL: dict[str, float] = {
    "embed_tokens.weight": 0.03,
    "q_proj.weight": 0.01,
    "k_proj.weight": 0.01,
    "q_proj.bias": 0.01,
    "k_proj.bias": 0.01,
    "o_proj.weight": 0.003,
    "o_proj.bias": 0.003,
    "down_proj.weight": 0.003,
    "down_proj.bias": 0.003,
    "lm_head.decoder.weight": 5.0,
    "lm_head.dense.weight": 0.1,
    "lm_head.dense.bias": 0.1,
}


def esmc(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny ESM C of one of the classes."""
    return make(class_name, EsmcConfig(**SIZES | changes), seed, gains=SMALL)


Encoder = partial(Case, topology="encoder")
BIASED = {key: value for key, value in EVERY_BIAS.items() if key != "head_dim"}
CASES = (
    Encoder("masked-lm", partial(esmc, "EsmcForMaskedLM", 1)),
    Encoder("model", partial(esmc, "EsmcModel", 2, **BIASED)),
    Encoder("classes", partial(esmc, "EsmcForSequenceClassification", 3, num_labels=3)),
    Encoder("tokens", partial(esmc, "EsmcForTokenClassification", 4, num_labels=5)),
)
