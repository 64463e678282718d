"""The text model of MiniMax M3: transformers' MiniMaxM3VLForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers.models.minimax_m3_vl import MiniMaxM3VLTextConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Indexed, Respell, make
from tests.reference.mixtral import SIZES
from tests.reference.selection_bias import with_selection_biases

SPARSE = {
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "layer_types": ["full_attention", "minimax_m3_sparse", "minimax_m3_sparse"],
    "mlp_layer_types": ["dense", "sparse", "sparse"],
    "dense_intermediate_size": 34,
    "shared_intermediate_size": 22,
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
    "routed_scaling_factor": 1.7,
    "swiglu_limit": 0.7,
    "index_n_heads": 2,
    "index_block_size": 3,
    "index_topk_blocks": 3,
    "index_local_blocks": 1,
}


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The nested keys of the published file, without lists of layers."""
    names = {
        "index_n_heads": "sparse_num_index_heads",
        "index_head_dim": "sparse_index_dim",
        "index_block_size": "sparse_block_size",
        "index_topk_blocks": "sparse_topk_blocks",
        "index_local_blocks": "sparse_local_block",
    }
    sparse = {name: config.pop(key) for key, name in names.items()}
    sparse["sparse_attention_freq"] = [int(kind != "full_attention") for kind in config.pop("layer_types")]
    experts = [int(kind == "sparse") for kind in config.pop("mlp_layer_types")]
    return config | {"sparse_attention_config": sparse, "moe_layer_freq": experts}


def minimax_m3(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of Mixtral's."""
    rope = SIZES["rope_parameters"] | {"partial_rotary_factor": 0.6}
    sizes = SIZES | SPARSE | {"rope_parameters": rope, "index_head_dim": SIZES["head_dim"]}
    reference = make(
        "MiniMaxM3VLForCausalLM",
        MiniMaxM3VLTextConfig(**sizes | changes),
        seed,
        unit_offset=True,
        gains={"indexer.k_proj.weight": 0.2},  # next to which the eps counts
        respell=respell,
        kind=Indexed,
    )
    return with_selection_biases(reference, seed)


CASES = (
    Case("published", partial(minimax_m3, 1, published), length=22),
    Case(
        "by-list",
        partial(minimax_m3, 2, num_local_experts=8, index_n_heads=1, index_local_blocks=2, index_block_size=4),
        length=29,
    ),
)
