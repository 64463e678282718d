"""GGUF files of multi-head latent attention in both layouts, and of fused projections: logits are transformers'."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import read_checkpoint_config
from archc.plan import Plan
from archc.runtime.engine import load
from tests.compiler.weights.checkpoint.gguf_architectures import ARCHITECTURES, VOCAB, Architecture, Named
from tests.compiler.weights.checkpoint.gguf_files import gguf_tensors, write

IDS = [1, 17, 40, 3, 55, 9, 9, 30]
HEADS, LATENT, NOPE, ROPE, VALUE = 4, 32, 16, 8, 24
SIZES = {
    "num_key_value_heads": HEADS,
    "head_dim": None,
    "num_hidden_layers": 3,
    "kv_lora_rank": LATENT,
    "qk_nope_head_dim": NOPE,
    "qk_rope_head_dim": ROPE,
    "v_head_dim": VALUE,
    "moe_intermediate_size": 32,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
}
YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 32,
    "rope_theta": 10000.0,
    "mscale": 0.707,
    "mscale_all_dim": 0.707,
}
GROUPS = {"n_group": 4, "topk_group": 2}
GROUP_KEYS = {"n_group": "expert_group_count", "topk_group": "expert_group_used_count"}
V2: dict[str, Any] = {"q_lora_rank": 20, "topk_method": "group_limited_greedy", "routed_scaling_factor": 1.5, **GROUPS}
LITE: dict[str, Any] = {"q_lora_rank": None, "topk_method": "greedy", "rope_parameters": YARN, "n_group": 1}


def per_head(name: str, value: Tensor, config: Any) -> Named:
    """Return the rows of keys, transposed, and of values for each head, as DeepseekV2Model of llama.cpp has them."""
    name = name.replace("e_score_correction_bias", "e_score_correction.bias")
    if "kv_b_proj" not in name:
        return [(name, value)]
    keys, values = value.view(HEADS, NOPE + VALUE, LATENT).split([NOPE, VALUE], dim=1)
    return [
        (name.replace("kv_b_proj", "k_b_proj"), keys.transpose(1, 2)),
        (name.replace("kv_b_proj", "v_b_proj"), values),
    ]


def whole(name: str, value: Tensor, config: Any) -> Named:
    """Return a tensor as files before April 2025 have it."""
    return [(name.replace("e_score_correction_bias", "e_score_correction.bias"), value)]


def write_latent(path: Path, version: str, is_old: bool, more: Mapping[str, Any], keys: Mapping[str, str]) -> Any:
    """Write a DeepSeek with the settings of llama.cpp's converter; return the model. `keys` are further settings."""
    made = Architecture("deepseek2", f"Deepseek{version}", {**SIZES, **more}, whole if is_old else per_head)
    model = made.build()
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.copy_(torch.randn(buffer.shape, generator=torch.Generator().manual_seed(3)) * 0.3)
    config = model.config
    lengths = (NOPE + ROPE, VALUE) if is_old else (LATENT + ROPE, LATENT)
    writer = gguf.GGUFWriter(path, "deepseek2")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS if is_old else 1)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(ROPE)
    writer.add_key_length(lengths[0])
    writer.add_value_length(lengths[1])
    if not is_old:
        writer.add_key_length_mla(NOPE + ROPE)
        writer.add_value_length_mla(VALUE)
    if config.q_lora_rank is not None:
        writer.add_q_lora_rank(config.q_lora_rank)
    writer.add_kv_lora_rank(LATENT)
    writer.add_leading_dense_block_count(config.first_k_dense_replace)
    writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    writer.add_expert_count(config.n_routed_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_expert_shared_count(config.n_shared_experts)
    writer.add_expert_weights_scale(config.routed_scaling_factor)
    if config.norm_topk_prob:
        writer.add_expert_weights_norm(True)
    if version == "V3":
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    if config.rope_parameters["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(YARN["factor"])
        writer.add_rope_scaling_orig_ctx_len(YARN["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_log_mul(0.1 * YARN["mscale_all_dim"])
    for attribute, key in keys.items():
        writer.add_uint32(f"deepseek2.{key}", getattr(config, attribute, 1))
    writer.add_array("tokenizer.ggml.tokens", [f"token {number}" for number in range(VOCAB)])
    for name, value in gguf_tensors(made, model).items():
        writer.add_tensor(name, value.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


@pytest.mark.parametrize("is_old", [False, True], ids=["heads", "whole"])
@pytest.mark.parametrize(
    ("version", "more", "keys"),
    [
        pytest.param("V2", V2, GROUP_KEYS, id="v2"),
        pytest.param("V2", LITE, {}, id="v2-lite"),
        pytest.param("V3", {"q_lora_rank": 20, **GROUPS}, GROUP_KEYS, id="v3"),
    ],
)
def test_logits_of_latent_attention(
    version: str, more: dict[str, Any], keys: dict[str, str], is_old: bool, tmp_path: Path
) -> None:
    model = write_latent(tmp_path / "model.gguf", version, is_old, more, keys)
    plan = build(tmp_path / "model.gguf", out=tmp_path / "engine.plan", warn=lambda message: None)
    with Plan(plan) as opened:
        assert opened.manifest.family == f"deepseek-{version.lower()}"
    with torch.no_grad():
        expected = model(torch.tensor([IDS])).logits[0].numpy()
    np.testing.assert_allclose(load(plan).logits(IDS)[0], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("version", "experts", "groups"),
    [
        pytest.param("V2", 160, (8, 3), id="v2"),
        pytest.param("V2", 64, (1, 1), id="v2-lite"),
        pytest.param("V3", 256, (8, 4), id="v3"),
        pytest.param("V3", 64, (1, 1), id="moonlight"),
    ],
)
def test_groups_of_files_without_their_keys(
    version: str, experts: int, groups: tuple[int, int], tmp_path: Path
) -> None:
    more = {"n_routed_experts": experts, "moe_intermediate_size": 32, "num_hidden_layers": 2, "q_lora_rank": 20}
    write_latent(tmp_path / "model.gguf", version, False, more, {})
    config = read_checkpoint_config(tmp_path / "model.gguf")
    assert config is not None
    assert (config["n_group"], config["topk_group"]) == groups


def test_a_temperature_by_position_is_refused(tmp_path: Path) -> None:
    write_latent(tmp_path / "model.gguf", "V2", False, LITE, {"temperature": "attention.temperature_scale"})
    message = "deepseek2.attention.temperature_scale: the value 1 is not supported; use the model's safetensors"
    with pytest.raises(BuildError, match=re.escape(message)):
        build(tmp_path / "model.gguf", out=tmp_path / "engine.plan")


def test_fused_queries_keys_and_values(tmp_path: Path) -> None:
    architecture = next(each for each in ARCHITECTURES if each.name == "phi2")
    model = architecture.build()
    tensors = gguf_tensors(architecture, model)
    fused = {
        f"blk.{layer}.attn_qkv.{part}": torch.cat([tensors[f"blk.{layer}.attn_{name}.{part}"] for name in "qkv"])
        for layer in range(model.config.num_hidden_layers)
        for part in ("weight", "bias")
    }
    ends = tuple(f".attn_{name}.{part}" for name in "qkv" for part in ("weight", "bias"))
    path = write(tmp_path / "model.gguf", architecture, model, tensors=fused, without=ends)
    plan = build(path, out=tmp_path / "engine.plan", warn=lambda message: None)
    with torch.no_grad():
        expected = model(torch.tensor([IDS])).logits[0].numpy()
    np.testing.assert_allclose(load(plan).logits(IDS)[0], expected, atol=1e-4, rtol=0)
