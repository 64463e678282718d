"""Hy4: transformers' HYV4ForCausalLM in its eager attention, the one with sinks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import HYV4Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Indexed, Rename, Respell, make
from tests.reference.deepseek_v2 import SIZES as LATENT
from tests.reference.deepseek_v2 import YARN
from tests.reference.deepseek_v32 import INDEXER, KEYS
from tests.reference.minicpm3 import GAINS
from tests.reference.selection_bias import with_selection_biases

SIZES: dict[str, Any] = {key: value for key, value in LATENT.items() if key != "first_k_dense_replace"} | {
    **INDEXER,
    "pad_token_id": 0,
    "n_routed_experts": 5,
    "hc_mult": 3,
    "hc_eps": 0.05,
    "hc_magnitude": 1.6,
    "swiglu_limit": 0.4,
}
# Weights of streams that differ from each other.
STREAMS = {"hc.fn": 3.0, "hc_fn": 3.0, "hc.scale": 1.5, "hc.base": 2.0, "hc_base": 2.0}


def of_the_class(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of transformers' class, which `save_pretrained` does not write."""
    renamed = {}
    for name, tensor in tensors.items():
        name = name.replace(".hc_pre.hc_head.hc_head_", ".hc_head.hc_").replace(".linear_gate", ".gate_proj")
        for layer, branch in (("attn", "attn"), ("mlp", "ffn")):
            name = name.replace(f".hc_pre.hc_{layer}_layer.hc_", f".{branch}_hc.")
        renamed[name.replace("learnable_sink_param", "sinks")] = tensor
    return renamed


def without_lists(config: dict[str, Any]) -> dict[str, Any]:
    """A file that leaves the kinds of layers to their defaults."""
    return {key: value for key, value in config.items() if not key.endswith("_types")}


def hy_v4(seed: int, weights: Rename | None = None, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES, its sinks large enough to take weight."""
    config = HYV4Config(**SIZES | changes)
    gains = {**GAINS, **KEYS, **STREAMS}
    reference = make("HYV4ForCausalLM", config, seed, gains=gains, kind=Indexed, weights=weights, respell=respell)
    with torch.no_grad():
        for name, parameter in reference.model.named_parameters():
            if name.endswith("sinks"):
                parameter.add_(1.0)
    return with_selection_biases(reference, seed)


CASES = (
    Case("default-layers", partial(hy_v4, 1, None, without_lists, num_hidden_layers=3), length=15),
    Case(
        "by-list",
        partial(
            hy_v4,
            2,
            of_the_class,
            indexer_types=["full", "shared"],
            mlp_layer_types=["sparse", "dense"],
            attention_bias=True,
            norm_topk_prob=False,
            rope_parameters=YARN,
        ),
        length=41,
    ),
)
