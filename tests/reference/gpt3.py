"""GPT-3: transformers' GPT2LMHeadModel whose banded layers are given a narrower mask.

The paper says of it: GPT-2, with alternating dense and locally banded sparse layers (Brown et al. 2020, section 2.1).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "n_embd": 60,
    "n_layer": 4,
    "n_head": 6,
    "n_positions": 48,
    "layer_norm_epsilon": 1e-2,
}


def gpt3(seed: int, window: int, local: tuple[bool, ...], listed: bool = False, **changes: Any) -> FromTransformers:
    """A tiny GPT-3; `local` says which layers are banded, and `listed` writes that into the config."""
    names = ["local" if banded else "global" for banded in local]

    def respell(config: dict[str, Any]) -> dict[str, Any]:
        return config | {"window_size": window} | ({"attention_layers": names} if listed else {})

    # Eager attention always gets its mask as a tensor.
    options: dict[str, Any] = {"respell": respell, "cached": False, "attention": "eager"}
    reference = make("GPT2LMHeadModel", GPT2Config(**SIZES | changes), seed, **options)
    for block, banded in zip(reference.model.transformer.h, local, strict=True):
        if banded:
            block.attn.register_forward_pre_hook(partial(narrowed, window), with_kwargs=True)
    return reference


def narrowed(window: int, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The call of a layer with its additive mask [batch, 1, seq, seq] cut to a band: a token sees `window` tokens."""
    mask: Tensor = kwargs["attention_mask"]
    position = torch.arange(mask.shape[-1])
    outside = position[:, None] - position >= window
    return args, kwargs | {"attention_mask": mask.masked_fill(outside, torch.finfo(mask.dtype).min)}


CASES = (
    Case("alternating", partial(gpt3, 1, 4, (False, True, False, True)), spec="gpt3"),
    Case("banded-first", partial(gpt3, 2, 3, (True, False, True, False), True), spec="gpt3"),
    Case("one-dense-layer", partial(gpt3, 3, 6, (True, True, False, True), True), spec="gpt3", length=23),
)
