"""Published config.json files with small sizes: all keys of the file, few layers, narrow matrices."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from tests.archspec.samples import DATA

Config = dict[str, Any]

_WIDTH, _HIDDEN, _LAYERS, _HEADS, _CONTEXT, _EXPERTS = 32, 48, 2, 4, 80, 4
_SMALL: dict[str, int] = (
    dict.fromkeys(("hidden_size", "n_embd", "n_embed", "d_model", "model_dim", "attention_hidden_size"), _WIDTH)
    | dict.fromkeys(("intermediate_size", "inner_hidden_size", "ffn_dim", "ffn_hidden_size", "d_ff"), _HIDDEN)
    | dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), _HIDDEN)
    | dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 24)
    | dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers"), _LAYERS)
    | dict.fromkeys(("encoder_layers", "decoder_layers", "num_transformer_layers"), _LAYERS)
    | dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), _HEADS)
    | dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), _HEADS)
    | dict.fromkeys(("num_key_value_heads", "num_kv_heads", "multi_query_group_num"), 2)
    | dict.fromkeys(("head_dim", "kv_channels", "d_kv", "qk_nope_head_dim", "v_head_dim"), 8)
    | dict.fromkeys(("qk_rope_head_dim", "rotary_dim"), 4)
    | dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16)
    | dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "seq_length"), _CONTEXT)
    | dict.fromkeys(("model_max_length", "max_seq_len", "context_length", "max_context_length"), _CONTEXT)
    | dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), _EXPERTS)
    | dict.fromkeys(("num_experts_per_tok", "experts_per_token", "n_group"), 2)
    | dict.fromkeys(("first_k_dense_replace", "topk_group"), 1)
    | {"sliding_window": 6, "rope_max_length": 2 * _CONTEXT}
    | dict.fromkeys(("original_max_position_embeddings", "initial_context_length"), 16)
)


@cache
def _published() -> Mapping[str, Config]:
    lines = gzip.decompress((DATA / "published_configs.jsonl.gz").read_bytes()).splitlines()
    return {row["source"]: row["config"] for row in map(json.loads, lines)}


def small_config(source: str | None) -> Config:
    """Return the published config of a hub repository with small sizes; values that are null or 1 stay."""
    if source is None:
        return {}
    config = dict(_published()[source])
    grouped = config.get("num_key_value_heads") != config.get("num_attention_heads")
    for key, value in config.items():
        if isinstance(value, int) and not isinstance(value, bool) and value > 1 and key in _SMALL:
            config[key] = _SMALL[key]
    if not grouped and config.get("num_key_value_heads") is not None:
        config["num_key_value_heads"] = _HEADS
    if config.get("word_embed_proj_dim", 0) > _WIDTH:
        config["word_embed_proj_dim"] = _WIDTH
    if isinstance(config.get("layer_types"), list):
        config["layer_types"] = config["layer_types"][:_LAYERS]
    scaling = config.get("rope_scaling")
    if isinstance(scaling, dict) and "original_max_position_embeddings" in scaling:
        config["rope_scaling"] = scaling | {"original_max_position_embeddings": 16}
    return config
