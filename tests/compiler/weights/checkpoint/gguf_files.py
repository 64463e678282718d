"""Small GGUF files from transformers' models, by the writer and the name map of the package gguf."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from gguf.quants import dequantize, quantize
from torch import Tensor

VOCAB, LENGTH = 64, 128
SMALL = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": LENGTH,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
Type = gguf.GGMLQuantizationType


@dataclass(frozen=True)
class Architecture:
    """A GGUF architecture: transformers' classes for it, and what llama.cpp's converter changes."""

    name: str
    model: str
    config: Mapping[str, Any]
    convert: Callable[[str, Tensor, Any], Tensor] = lambda name, value, config: value

    def build(self, seed: int = 0, **settings: Any) -> Any:
        """Return a random model in float32; its norm weights and biases are not 1 and 0."""
        config = getattr(transformers, f"{self.model}Config")(**{**SMALL, **self.config, **settings})
        config._attn_implementation = "eager"
        torch.manual_seed(seed)
        model = getattr(transformers, f"{self.model}ForCausalLM")(config).eval().float()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter.add_(torch.randn(parameter.shape) * 0.1)
        return model


def in_pairs(value: Tensor, heads: int) -> Tensor:
    """Return the rows of each head in the order 0, n/2, 1, n/2 + 1, … as LlamaModel.permute of llama.cpp has them."""
    return value.reshape(heads, 2, len(value) // heads // 2, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)


def _llama(name: str, value: Tensor, config: Any) -> Tensor:
    if ".q_proj." in name:
        return in_pairs(value, config.num_attention_heads)
    return in_pairs(value, config.num_key_value_heads) if ".k_proj." in name else value


def _gemma(name: str, value: Tensor, config: Any) -> Tensor:
    return value + 1 if name.endswith("norm.weight") else value


_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True}
ARCHITECTURES = (
    Architecture("llama", "Llama", {"rope_theta": 500000.0}, _llama),
    Architecture("qwen2", "Qwen2", {"tie_word_embeddings": True}),
    Architecture("qwen3", "Qwen3", {"head_dim": 32}),
    Architecture("gemma", "Gemma", {"head_dim": 32, "tie_word_embeddings": True}, _gemma),
    Architecture("qwen3moe", "Qwen3Moe", {"head_dim": 16, **_EXPERTS}),
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
) -> Path:
    """Write a model as llama.cpp's converter does: matrices of `kind`, vectors in float32."""
    config = model.config
    writer = gguf.GGUFWriter(path, architecture.name)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base((getattr(config, "rope_parameters", None) or {}).get("rope_theta", 10000.0))
    if getattr(config, "head_dim", None):
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if hasattr(config, "moe_intermediate_size"):
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_array("tokenizer.ggml.tokens", [f"token {number}" for number in range(VOCAB)])
    writer.add_array("tokenizer.ggml.scores", [0.5 * number for number in range(VOCAB)])
    for key, value in (settings or {}).items():
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    for name, value in {**gguf_tensors(architecture, model), **(tensors or {})}.items():
        plain = value.contiguous().numpy()
        if value.dim() == 1 or kind == Type.F32:
            writer.add_tensor(name, plain)
        else:
            writer.add_tensor(name, quantize(plain, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_tensors(architecture: Architecture, model: Any) -> dict[str, Tensor]:
    """Return the tensors of a model under the names of GGUF."""
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture.name)
    names = gguf.get_tensor_name_map(arch, model.config.num_hidden_layers)
    result = {}
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        changed = architecture.convert(name, value, model.config)
        if name.endswith(".experts.gate_up_proj"):
            stem = name.removesuffix("gate_up_proj")
            for part, half in zip(("gate", "up"), changed.chunk(2, dim=1), strict=True):
                result[f"{names.get_name(f'{stem}{part}_proj')}.weight"] = half
            continue
        full = name if name.endswith((".weight", ".bias")) else f"{name}.weight"
        found = names.get_name(full, try_suffixes=(".weight", ".bias"))
        assert found is not None, full
        result[found] = changed
    return result


def random_blocks(shape: tuple[int, int], kind: Type, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return rows of random blocks of a type that the package cannot write; their scales are small numbers."""
    size, width = gguf.GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (shape[0] * shape[1] // size, width), dtype=np.uint8)
    scales = {Type.Q4_K: slice(0, 4), Type.Q6_K: slice(width - 2, width)}[kind]
    count = (scales.stop - scales.start) // 2
    blocks[:, scales] = random.uniform(1e-4, 1e-3, (len(blocks), count)).astype(np.float16).view(np.uint8)
    return blocks.reshape(shape[0], -1)
