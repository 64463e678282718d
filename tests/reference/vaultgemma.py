"""VaultGemma: transformers' VaultGemmaForCausalLM, in its eager attention, the only one that caps scores."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import VaultGemmaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.gemma2 import SIZES
from tests.reference.spelling import older_rope


def older_file(config: dict[str, Any]) -> dict[str, Any]:
    """A file that leaves the list of layers to the pattern."""
    return older_rope({key: value for key, value in config.items() if key != "layer_types"})


def vaultgemma(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of Gemma 2's."""
    config = VaultGemmaConfig(**SIZES | changes)
    options: dict[str, Any] = {"respell": respell, "unit_offset": True, "table": 0.2, "attention": "eager"}
    return make("VaultGemmaForCausalLM", config, seed, **options)


CASES = (
    Case("capped", partial(vaultgemma, 1)),
    Case("older-file-biased", partial(vaultgemma, 2, older_file, attention_bias=True, attn_logit_softcapping=None)),
)
