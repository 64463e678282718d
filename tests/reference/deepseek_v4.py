"""DeepSeek V4: transformers' DeepseekV4ForCausalLM."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import DeepseekV4Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Indexed, Rename, Respell, make
from tests.reference.selection_bias import with_selection_biases

SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "moe_intermediate_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "head_dim": 12,
    "q_lora_rank": 20,
    "n_routed_experts": 5,
    "num_experts_per_tok": 2,
    "routed_scaling_factor": 1.7,
    "swiglu_limit": 0.4,
    "o_groups": 2,
    "o_lora_rank": 10,
    "sliding_window": 5,
    "index_n_heads": 12,  # so that no key has the score 0 by all of them
    "index_head_dim": 8,
    "index_topk": 3,
    "partial_rotary_factor": 0.5,
    "rope_theta": 100.0,
    "compress_rope_theta": 300.0,
    "max_position_embeddings": 512,  # so that the window is a ring
    "hc_mult": 3,
    "hc_sinkhorn_iters": 3,
    "hc_eps": 0.05,
    "rms_norm_eps": 0.05,
    "pad_token_id": 0,
    "layer_types": [
        "sliding_attention",
        "heavily_compressed_attention",
        "compressed_sparse_attention",
        "compressed_sparse_attention",
    ],
    "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 6},
    "mlp_layer_types": ["hash_moe", "moe", "hash_moe", "moe"],
}


class Hashed(Indexed):
    """A class whose tables of experts by token are buffers, which count as parameters."""

    @property
    def parameters(self) -> int:
        """The class's own count with the tables."""
        tables = (buffer for name, buffer in self.model.named_buffers() if name.endswith("tid2eid"))
        return super().parameters + sum(table.numel() for table in tables)


# Weights of streams that differ from each other, sums over blocks that are no means, and keys next to which the eps
# counts.
GAINS = {
    "hc.fn": 3.0,
    "hc_fn": 3.0,
    "hc.scale": 1.5,
    "hc.base": 2.0,
    "hc_base": 2.0,
    "position_bias": 5.0,
    "indexer.kv_proj.weight": 0.2,
}


def deepseek_v4(
    seed: int, weights: Rename | None = None, respell: Respell | None = None, **changes: Any
) -> FromTransformers:
    """A tiny model with the given differences from SIZES, its sinks large enough to take weight."""
    config = DeepseekV4Config(**SIZES | changes)
    options: dict[str, Any] = {"kind": Hashed, "weights": weights, "respell": respell}
    reference = make("DeepseekV4ForCausalLM", config, seed, gains=GAINS, **options)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in reference.model.named_parameters():
            if name.endswith("sinks"):
                parameter.add_(1.0)
        for name, buffer in reference.model.named_buffers():
            if name.endswith("tid2eid"):
                order = torch.rand(len(buffer), config.n_routed_experts, generator=generator).argsort(dim=-1)
                buffer.copy_(order[:, : buffer.shape[1]])
    return with_selection_biases(reference, seed)


def published_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of the published files, which `save_pretrained` restores in part."""
    renamed = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    for old, new in (
        ("embed_tokens.", "embed."), ("hc_head.hc_", "hc_head_"), (".attn.norm.", ".attn.kv_norm."),
    ):  # fmt: skip
        renamed = {name.replace(old, new): tensor for name, tensor in renamed.items()}
    return renamed


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of the published files, which have a ratio of compression for each layer."""
    lists = ("layer_types", "mlp_layer_types", "compress_rates", "rope_parameters", "partial_rotary_factor")
    ratios = {"sliding_attention": 0, "compressed_sparse_attention": 4, "heavily_compressed_attention": 128}
    compress = config["rope_parameters"]["compress"]
    yarn = {key: value for key, value in compress.items() if key not in (*lists, "rope_theta", "attention_factor")}
    return {key: value for key, value in config.items() if key not in lists} | {
        "compress_ratios": [*(ratios[kind] for kind in config["layer_types"]), 0],
        "compress_rate_csa": config["compress_rates"]["compressed_sparse_attention"],
        "compress_rate_hca": config["compress_rates"]["heavily_compressed_attention"],
        "num_hash_layers": config["mlp_layer_types"].count("hash_moe"),
        "rope_scaling": {"type": yarn.pop("rope_type"), **yarn},
    }


def of_the_class(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of transformers' class, with the experts of a layer in one tensor."""
    renamed: dict[str, Tensor] = {}
    experts: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        for old, new in _CLASS_NAMES:
            name = re.sub(old, new, name)
        if match := re.fullmatch(r"(.*experts)\.(\d+)\.(w\d)\.weight", name):
            experts.setdefault(f"{match[1]}.{match[3]}", {})[int(match[2])] = tensor
        else:
            renamed[name] = tensor
    stacked = {name: torch.stack([parts[index] for index in sorted(parts)]) for name, parts in experts.items()}
    for name, gate in stacked.items():
        if name.endswith(".w1"):
            renamed[f"{name[:-3]}.gate_up_proj"] = torch.cat((gate, stacked[f"{name[:-3]}.w3"]), dim=1)
            renamed[f"{name[:-3]}.down_proj"] = stacked[f"{name[:-3]}.w2"]
    return renamed


_CLASS_NAMES = (
    (r"^head\.", "lm_head."),
    (r"\.hc_(attn|ffn)_", r".\1_hc."),
    (r"\.attn_norm\.", ".input_layernorm."),
    (r"\.ffn_norm\.", ".post_attention_layernorm."),
    (r"\.attn\.indexer\.weights_proj", ".attn.compressor.indexer.scorer.weights_proj"),
    (r"\.attn\.indexer\.wq_b", ".attn.compressor.indexer.q_b_proj"),
    (r"\.attn\.indexer\.compressor\.", ".attn.compressor.indexer."),
    (r"\.q_norm\.", ".q_a_norm."),
    (r"(\.attn|\.compressor|\.indexer)\.norm\.", r"\1.kv_norm."),
    (r"\.attn_sink$", ".sinks"),
    (r"\.ape$", ".position_bias"),
    (r"\.w(q_[ab]|kv|o_[ab])\.", r".\1_proj."),
    (r"\.wgate\.", ".gate_proj."),
    (r"\.attn\.", ".self_attn."),
    (r"\.ffn\.", ".mlp."),
    (r"\.gate\.bias$", ".gate.e_score_correction_bias"),
    (r"\.shared_experts\.w1\.", ".shared_experts.gate_proj."),
    (r"\.shared_experts\.w2\.", ".shared_experts.down_proj."),
    (r"\.shared_experts\.w3\.", ".shared_experts.up_proj."),
)


def without_lists(config: dict[str, Any]) -> dict[str, Any]:
    """A file that leaves the kinds of layers to their defaults."""
    return {key: value for key, value in config.items() if not key.endswith("layer_types")}


YARN = {
    "main": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5},
    "compress": {
        "rope_type": "yarn",
        "rope_theta": 300.0,
        "partial_rotary_factor": 0.5,
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        "beta_fast": 2.0,
        "beta_slow": 0.5,
        "attention_factor": 1.0,
    },
}
CASES = (
    Case("by-list", partial(deepseek_v4, 1), length=41),
    Case(
        "published",
        partial(
            deepseek_v4,
            2,
            published_names,
            published,
            num_hidden_layers=3,
            layer_types=["sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"],
            mlp_layer_types=["hash_moe", "moe", "moe"],
            rope_parameters=YARN,
            max_position_embeddings=256,
            head_dim=24,
            index_head_dim=16,
        ),
        length=37,
    ),
    Case(
        "default-layers",
        partial(deepseek_v4, 3, of_the_class, without_lists, layer_types=None, mlp_layer_types=None),
        length=33,
    ),
)
