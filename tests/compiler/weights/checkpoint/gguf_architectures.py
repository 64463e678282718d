"""GGUF architectures with small models of transformers, and what llama.cpp's converter changes in their tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gguf
import torch
import transformers
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
Named = Iterable[tuple[str, Tensor]]


def unchanged(name: str, value: Tensor, config: Any) -> Named:
    """Return a tensor as it is."""
    return [(name, value)]


@dataclass(frozen=True)
class Architecture:
    """A GGUF architecture: transformers' classes for it, and what llama.cpp's converter changes.

    `keys` are further settings, by the attribute of the config; `id` is the name of a variant; `head`
    and `text` are parts of the names of classes.
    """

    name: str
    model: str
    config: Mapping[str, Any]
    convert: Callable[[str, Tensor, Any], Named] = unchanged
    keys: Mapping[str, str] = field(default_factory=dict)
    id: str = ""
    head: str = "ForCausalLM"
    text: str = ""

    def __str__(self) -> str:
        return self.id or self.name

    def build(self, seed: int = 0, **settings: Any) -> Any:
        """Return a random model in float32; its norm weights and biases are not 1 and 0."""
        known = {key: value for key, value in {**SMALL, **self.config, **settings}.items() if value is not None}
        config = getattr(transformers, f"{self.model}{self.text}Config")(**known)
        config._attn_implementation = "eager"
        torch.manual_seed(seed)
        model = getattr(transformers, f"{self.model}{self.head}")(config).eval().float()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() == 1 or "bias" in name or "norm" in name:
                    parameter.add_(torch.randn(parameter.shape) * 0.1)
        return model


def in_pairs(value: Tensor, heads: int) -> Tensor:
    """Return the rows of each head in the order 0, n/2, 1, n/2 + 1, … as LlamaModel.permute of llama.cpp has them."""
    return value.reshape(heads, 2, len(value) // heads // 2, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)


def _llama(name: str, value: Tensor, config: Any) -> Named:
    if ".q_proj." in name:
        value = in_pairs(value, config.num_attention_heads)
    return [(name, in_pairs(value, config.num_key_value_heads) if ".k_proj." in name else value)]


def _gemma(name: str, value: Tensor, config: Any) -> Named:
    return [(name, value + 1 if name.endswith("norm.weight") else value)]


def _gpt2(name: str, value: Tensor, config: Any) -> Named:
    is_conv = name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight"))
    return [(name, value.T if is_conv else value)]


def _fused(name: str, value: Tensor, config: Any) -> Named:
    """Return queries, keys and values one after the other, which the hub has group by group."""
    if config.model_type == "bloom":
        name = name.removeprefix("transformer.")
    if "query_key_value" not in name:
        return [(name, value)]
    heads = config.num_attention_heads
    groups = getattr(config, "num_kv_heads", heads)
    if not getattr(config, "new_decoder_architecture", True):
        groups = 1
    parts = value.reshape(groups, heads // groups + 2, config.hidden_size // heads, -1)
    rows = (parts[:, :-2], parts[:, -2:-1], parts[:, -1:])
    return [(name, torch.cat([part.reshape(-1, parts.shape[-1]) for part in rows]).reshape(value.shape))]


def _stablelm(name: str, value: Tensor, config: Any) -> Named:
    """Return the norms of all heads in one tensor, under the name of the first."""
    return [(name.replace(".norms.0", ""), value)] if ".norms." in name else [(name, value)]


def _gpt_oss(name: str, value: Tensor, config: Any) -> Named:
    if name.endswith("sinks"):
        return [(f"{name}.weight", value)]
    if ".experts." not in name:
        return [(name, value)]
    stem, _, part = name.rpartition(".")
    ending = "bias" if part.endswith("_bias") else "weight"
    value = value if ending == "bias" else value.transpose(1, 2)
    if not part.startswith("gate_up"):
        return [(f"{stem}.down_proj.{ending}", value)]
    halves = (value[:, 0::2], value[:, 1::2])
    return [(f"{stem}.{half}_proj.{ending}", each) for half, each in zip(("gate", "up"), halves, strict=True)]


_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True}
_LAYER_NORM = {"rms_norm_eps": None, "layer_norm_eps": 1e-5}
_HEADS = {"num_key_value_heads": None, "intermediate_size": None, "rms_norm_eps": None}
_SHARED = {"shared_expert_intermediate_size": 48, "norm_topk_prob": False}
_WINDOW = {"sliding_window": "attention.sliding_window"}
_GEMMA = {"head_dim": 32, "sliding_window": 4, "query_pre_attn_scalar": 32, "tie_word_embeddings": True}
_CAPS = {"attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping"}
_YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 32,
    "rope_theta": 150000.0,
    "truncate": False,
}
_LONG = {
    "rope_type": "longrope",
    "long_factor": [1.0, 1.5, 2.0, 4.0],
    "short_factor": [1.0, 1.25, 1.5, 2.0],
    "original_max_position_embeddings": 32,
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.5,
}
ARCHITECTURES = (
    Architecture("llama", "Llama", {"rope_theta": 500000.0}, _llama),
    Architecture("qwen2", "Qwen2", {"tie_word_embeddings": True}),
    Architecture("qwen3", "Qwen3", {"head_dim": 32}),
    Architecture("gemma", "Gemma", {"head_dim": 32, "tie_word_embeddings": True}, _gemma),
    Architecture("qwen3moe", "Qwen3Moe", {"head_dim": 16, **_EXPERTS}),
    Architecture("llama", "Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}, _llama, id="mixtral"),
    Architecture("gemma2", "Gemma2", _GEMMA, _gemma, {**_WINDOW, **_CAPS}),
    Architecture("gemma3", "Gemma3", {**_GEMMA, "num_hidden_layers": 6}, _gemma, _WINDOW, text="Text"),
    Architecture("phi2", "Phi", {**_LAYER_NORM, "num_key_value_heads": 4, "partial_rotary_factor": 0.5}),
    Architecture("phi3", "Phi3", {"sliding_window": 4, "partial_rotary_factor": 0.5}, keys=_WINDOW),
    Architecture("phi3", "Phi3", {"rope_parameters": _LONG, "original_max_position_embeddings": 32}, id="phi3-long"),
    Architecture("gpt2", "GPT2", {"n_positions": LENGTH, **_HEADS}, _gpt2, head="LMHeadModel"),
    Architecture("falcon", "Falcon", {**_HEADS, "multi_query": True}, _fused),
    Architecture(
        "falcon", "Falcon", {**_HEADS, "num_kv_heads": 2, "new_decoder_architecture": True}, _fused, id="falcon-40b"
    ),
    Architecture("bloom", "Bloom", {**_HEADS, "n_layer": 2, "n_head": 4}, _fused),
    Architecture(
        "gptneox",
        "GPTNeoX",
        {**_LAYER_NORM, "num_key_value_heads": None, "rotary_pct": 0.5},
        _fused,
        {"use_parallel_residual": "use_parallel_residual"},
    ),
    Architecture("qwen2moe", "Qwen2Moe", {**_EXPERTS, **_SHARED}),
    Architecture("starcoder2", "Starcoder2", {"rms_norm_eps": None, "norm_epsilon": 1e-5, "sliding_window": None}),
    Architecture(
        "stablelm",
        "StableLm",
        {**_LAYER_NORM, "partial_rotary_factor": 0.5, "use_qkv_bias": True, "qk_layernorm": True},
        _stablelm,
        {"use_parallel_residual": "use_parallel_residual"},
    ),
    Architecture("olmo", "Olmo", {"rms_norm_eps": None, "clip_qkv": 0.5}, _llama, {"clip_qkv": "attention.clamp_kqv"}),
    Architecture("olmo2", "Olmo2", {}),
    Architecture(
        "command-r",
        "Cohere",
        {**_LAYER_NORM, "logit_scale": 0.25, "use_qk_norm": True, "tie_word_embeddings": True},
        keys={"logit_scale": "logit_scale"},
    ),
    Architecture(
        "cohere2",
        "Cohere2",
        {**_LAYER_NORM, "logit_scale": 0.25, "sliding_window": 4, "num_hidden_layers": 4, "tie_word_embeddings": True},
        keys={"logit_scale": "logit_scale", **_WINDOW},
    ),
    Architecture(
        "granite",
        "Granite",
        {"attention_multiplier": 0.2, "embedding_multiplier": 2.0, "residual_multiplier": 0.5, "logits_scaling": 4.0},
        _llama,
        {
            "attention_multiplier": "attention.scale",
            "embedding_multiplier": "embedding_scale",
            "residual_multiplier": "residual_scale",
            "logits_scaling": "logit_scale",
        },
    ),
    Architecture("glm4", "Glm4", {"head_dim": 16, "partial_rotary_factor": 0.5, "attention_bias": True}),
    Architecture(
        "gpt-oss",
        "GptOss",
        {
            "head_dim": 16,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": 4,
            "intermediate_size": 32,
            "rope_parameters": _YARN,
        },
        _gpt_oss,
        _WINDOW,
    ),
)
