"""Small GGUF files from transformers' models, by the writer and the name map of the package gguf."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import dequantize, quantize
from torch import Tensor

from tests.compiler.weights.checkpoint.gguf_architectures import (
    LENGTH,
    VOCAB,
    Architecture,
    Type,
)


def round_to(model: Any, kind: Type) -> None:
    """Replace the matrices of a model by what they are after quantization to a GGML type."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                rows = dequantize(quantize(parameter.numpy(), kind), kind)
                parameter.copy_(torch.from_numpy(rows.reshape(tuple(parameter.shape))))


def write(
    path: Path,
    architecture: Architecture,
    model: Any,
    kind: Type = Type.F32,
    settings: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Tensor] | None = None,
    kinds: Mapping[str, Type] | None = None,
    parts: int = 0,
    without: str | tuple[str, ...] = "-",
) -> Path:
    """Write a model as llama.cpp's converter does: matrices of `kind`, those in `kinds` of another; vectors in float32.

    With `parts`, a part has at most this many tensors. Tensors whose names end in `without` are left out.
    """
    config = model.config
    writer = gguf.GGUFWriter(path, architecture.name, split_max_tensors=parts)
    _add_settings(writer, config)
    for attribute, key in architecture.keys.items():
        value = getattr(config, attribute)
        if value is not None:
            writer.add_key_value(f"{architecture.name}.{key}", value, gguf.GGUFValueType.get_type(value))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_array("tokenizer.ggml.tokens", [f"token {number}" for number in range(VOCAB)])
    writer.add_array("tokenizer.ggml.scores", [0.5 * number for number in range(VOCAB)])
    for key, value in (settings or {}).items():
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    own_tensors = {
        name: value for name, value in gguf_tensors(architecture, model).items() if not name.endswith(without)
    }
    for name, value in {**own_tensors, **(tensors or {})}.items():
        plain = value.contiguous().numpy()
        own = (kinds or {}).get(name, kind)
        if value.dim() == 1 or own == Type.F32:
            writer.add_tensor(name, plain)
        else:
            writer.add_tensor(name, quantize(plain, own), raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_settings(writer: gguf.GGUFWriter, config: Any) -> None:
    """Write the settings that TextModel.set_gguf_parameters of llama.cpp writes for every architecture."""

    def find(*names: str) -> Any:
        return next((value for name in names if (value := getattr(config, name, None)) is not None), None)

    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(find("max_position_embeddings", "n_positions", "seq_length") or LENGTH)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(find("intermediate_size", "n_inner", "ffn_hidden_size") or 4 * config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    multi_query = 1 if getattr(config, "multi_query", False) and not config.new_decoder_architecture else None
    writer.add_head_count_kv(multi_query or find("num_key_value_heads", "num_kv_heads") or config.num_attention_heads)
    for names, add in (
        (("rms_norm_eps",), writer.add_layer_norm_rms_eps),
        (("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"), writer.add_layer_norm_eps),
        (("head_dim",), writer.add_key_length),
        (("head_dim",), writer.add_value_length),
        (("num_local_experts", "num_experts"), writer.add_expert_count),
        (("num_experts_per_tok",), writer.add_expert_used_count),
        (("moe_intermediate_size",), writer.add_expert_feed_forward_length),
        (("shared_expert_intermediate_size",), writer.add_expert_shared_feed_forward_length),
    ):
        if (value := find(*names)) is not None:
            add(value)
    if config.model_type == "gpt_oss":
        writer.add_expert_feed_forward_length(config.intermediate_size)
    rope = getattr(config, "rope_parameters", None) or {}
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(rope.get("rope_theta", 10000.0))
    head_dim = find("head_dim") or config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1.0)))
    if rope.get("rope_type") in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if "original_max_position_embeddings" in rope:
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope.get("rope_type") == "longrope":
        original = rope["original_max_position_embeddings"]
        scale = config.max_position_embeddings / original
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)))
        for length in ("long", "short"):
            writer.add_tensor(f"rope_factors_{length}.weight", np.array(rope[f"{length}_factor"], np.float32))


def gguf_tensors(architecture: Architecture, model: Any) -> dict[str, Tensor]:
    """Return the tensors of a model under the names of GGUF."""
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture.name)
    names = gguf.get_tensor_name_map(arch, model.config.num_hidden_layers)
    changed: dict[str, list[Tensor]] = {}
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        for new_name, tensor in architecture.convert(name, value, model.config):
            changed.setdefault(re.sub(r"\.norms\.\d+", "", new_name), []).append(tensor)
    result = {}
    for name, values in changed.items():
        value = values[0] if len(values) == 1 else torch.stack(values)
        if name.endswith(".experts.gate_up_proj"):
            stem = name.removesuffix("gate_up_proj")
            for part, half in zip(("gate", "up"), value.chunk(2, dim=1), strict=True):
                result[f"{names.get_name(f'{stem}{part}_proj')}.weight"] = half
            continue
        full = name if name.endswith((".weight", ".bias")) else f"{name}.weight"
        found = names.get_name(full, try_suffixes=(".weight", ".bias"))
        assert found is not None, full
        result[found] = value.squeeze()
    return result


def random_blocks(shape: tuple[int, int], kind: Type, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return rows of random blocks of a type, also of one that the package cannot write."""
    size, width = gguf.GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (shape[0], shape[1] // size * width), dtype=np.uint8)
