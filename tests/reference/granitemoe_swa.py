"""Granite Swash with experts: transformers' GraniteMoeSWAForCausalLM in its eager attention, the one with sinks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import GraniteMoeSWAConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.granitemoe import SIZES


def granitemoe_swa(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model, its sinks large enough to take weight."""
    config = GraniteMoeSWAConfig(**SIZES | {"sliding_window": 4} | changes)
    reference = make("GraniteMoeSWAForCausalLM", config, seed, attention="eager")
    with torch.no_grad():
        for name, parameter in reference.model.named_parameters():
            if name.endswith("sinks"):
                parameter.add_(1.0)
    return reference


CASES = (
    Case("by-list", partial(granitemoe_swa, 1, layer_rope_theta=[300.0, 20.0, 0], shared_intermediate_size=28)),
    Case("by-default", partial(granitemoe_swa, 2)),
)
