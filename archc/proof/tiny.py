"""Tiny sizes for the config class of a model type, by the usual names of its keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Odd sizes, fewer key than query heads, a head width of its own, and an epsilon that shows in the outputs.
_SIZES: tuple[tuple[str, Any], ...] = (
    (r"(padded_)?vocab_size", 151),
    (r"hidden_size|n_embd|d_model|dim|model_dim", 96),
    (r"intermediate_size|ffn_dim|n_inner|d_ff|ffn_hidden_size|encoder_ffn_dim|decoder_ffn_dim", 100),
    (r"moe_intermediate_size|expert_ffn_hidden_size", 28),
    (r"shared_expert_intermediate_size", 36),
    (r"num_hidden_layers|n_layers?|num_layers|encoder_layers|decoder_layers", 3),
    (r"num_attention_heads|n_heads?|num_heads|encoder_attention_heads|decoder_attention_heads", 6),
    (r"num_key_value_heads|num_kv_heads|n_kv_heads", 2),
    (r"head_dim|attention_head_dim|kv_channels", 16),
    (r"max_position_embeddings|n_positions|max_sequence_length", 96),
    (r"(rms_|layer_)?norm_eps(ilon)?|layer_norm_epsilon", 1e-1),
    (r"num_(local_|routed_)?experts|n_routed_experts|moe_num_experts", 6),
    (r"num_experts_per_tok|moe_topk|moe_k|top_k_experts", 2),
    (r"n_group|topk_group|n_shared_experts", 1),
    (r"sliding_window", 5),
    (r"kv_lora_rank", 20),
    (r"q_lora_rank", 24),
    (r"qk_rope_head_dim", 8),
    (r"qk_nope_head_dim|v_head_dim", 12),
    (r"(pad|bos|eos)_token_id", None),
)


def tiny_sizes(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return tiny values for the keys of a config that are sizes; a key that is null stays so."""
    values: dict[str, Any] = {}
    for key, value in keys.items():
        size = next(((number,) for pattern, number in _SIZES if re.fullmatch(pattern, key)), None)
        if size is not None and (value is not None or key.endswith("_token_id")):
            values[key] = size[0]
    return values
