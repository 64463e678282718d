"""Gemma 4 without encoders: transformers' Gemma4UnifiedForCausalLM."""

from __future__ import annotations

from functools import partial

from transformers import Gemma4UnifiedTextConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.gemma4 import GAINS, SIZES, learn_scales, raise_branches


def gemma4_unified(seed: int) -> FromTransformers:
    """A tiny model of the sizes of Gemma 4 without per-layer embeddings."""
    sizes = {key: value for key, value in SIZES.items() if "per_layer_input" not in key}
    config = Gemma4UnifiedTextConfig(**sizes, attention_k_eq_v=True, num_global_key_value_heads=3)
    return raise_branches(make("Gemma4UnifiedForCausalLM", config, seed, table=0.2, prepare=learn_scales, gains=GAINS))


CASES = (Case("shared-keys-as-values", partial(gemma4_unified, 1)),)
