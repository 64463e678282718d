"""GGUF files as checkpoints: the plan's logits are those of transformers' model that the file was written from."""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights, read_checkpoint_config
from archc.compiler.weights.checkpoint.gguf import tensors as gguf_tensors_module
from archc.runtime.engine import load
from tests.compiler.weights.checkpoint.gguf_files import (
    ARCHITECTURES,
    Architecture,
    Type,
    gguf_tensors,
    in_pairs,
    random_blocks,
    round_to,
    write,
)

LLAMA = ARCHITECTURES[0]
IDS = [1, 17, 40, 3, 55, 9, 9, 30]
KINDS = [Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0]


def logits(model: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    with torch.no_grad():
        return np.asarray(model(torch.tensor([IDS])).logits[0].numpy())


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: each.name)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_logits_equal_those_of_transformers(architecture: Architecture, kind: Type, tmp_path: Path) -> None:
    model = architecture.build()
    if kind != Type.F32:
        round_to(model, kind)
    path = write(tmp_path / "model.gguf", architecture, model, kind)
    plan = build(path, out=tmp_path / "engine.plan")
    np.testing.assert_allclose(load(plan).logits(IDS)[0], logits(model), atol=2e-4, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: each.name)
def test_every_tensor_has_the_hub_name_and_values(architecture: Architecture, tmp_path: Path) -> None:
    model = architecture.build()
    weights = open_weights(write(tmp_path / "model.gguf", architecture, model))
    state = {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith("lm_head") or name in weights.names()
    }
    experts = {}
    for name in [name for name in state if ".experts." in name]:
        stem, _, part = name.rpartition(".")
        for expert, value in enumerate(state.pop(name)):
            halves = (
                zip(("gate_proj", "up_proj"), value.chunk(2), strict=True)
                if part == "gate_up_proj"
                else [(part, value)]
            )
            experts |= {f"{stem}.{expert}.{half}.weight": each for half, each in halves}
    state |= experts
    assert set(weights.names()) == set(state)
    weights.check_numbers(weights.names())
    for name, value in state.items():
        assert weights.shape(name) == tuple(value.shape)
        torch.testing.assert_close(weights.read(name), value, atol=1e-6, rtol=0)
        for place in ((slice(1, 3),), (3,), (slice(0, len(value)),)):
            torch.testing.assert_close(weights.read(name, place), value[place], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [Type.Q4_K, Type.Q6_K], ids=lambda kind: kind.name)
def test_k_quants(kind: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LLAMA.build(hidden_size=256, intermediate_size=256)
    name = "model.layers.0.self_attn.q_proj.weight"
    blocks = random_blocks((256, 256), kind, seed=3)
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_head_count(model.config.num_attention_heads)
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    writer.add_tensor("blk.0.attn_q.weight", blocks, raw_dtype=kind)
    writer.add_tensor("blk.0.ffn_up.weight", blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    expected = torch.from_numpy(dequantize(blocks, kind))
    monkeypatch.setattr(gguf_tensors_module, "_BLOCK_BYTES", 10_000)
    weights = open_weights(path)
    assert weights.dtype(name) == "F32"
    assert weights.bytes(name) == 4 * 256 * 256
    assert torch.equal(weights.read("model.layers.0.mlp.up_proj.weight"), expected)
    assert torch.equal(in_pairs(weights.read(name), 4), expected)
    assert torch.equal(weights.read(name, (slice(70, 201),)), weights.read(name)[70:201])


def test_config_is_that_of_the_model(tmp_path: Path) -> None:
    config = read_checkpoint_config(write(tmp_path / "model.gguf", LLAMA, LLAMA.build()))
    assert config is not None
    assert config["rope_theta"] == 500000.0
    assert config["rms_norm_eps"] == 1e-5
    assert config["tie_word_embeddings"] is False
    assert (config["bos_token_id"], config["eos_token_id"]) == (1, 2)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        pytest.param(b"blk.0.ffn_up.weight", (2**60, 0), id="no-columns"),
        pytest.param(b"blk.0.ffn_up_exps.weight", (2**20, 1, 1), id="many-experts"),
        pytest.param(b"blk.0.ffn_up.weight", (2**30, 2**20), id="past-the-end"),
    ],
)
def test_shapes_that_lie(name: bytes, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    architecture = text(b"general.architecture") + struct.pack("<I", 8) + text(b"qwen3moe")
    axes = b"".join(struct.pack("<Q", size) for size in reversed(shape))
    header = HEAD + struct.pack("<QQ", 1, 1) + architecture + text(name) + struct.pack("<I", len(shape)) + axes
    path.write_bytes(header + struct.pack("<IQ", 0, 0) + bytes(2**22 + 100))
    with pytest.raises(BuildError, match=re.escape(f"tensor '{name.decode()}'")):
        open_weights(path)


def rope_factors(theta: float, size: int, scaling: dict[str, Any]) -> torch.Tensor:
    """Return the tensor rope_freqs, as LlamaModel.generate_extra_tensors of llama.cpp computes it."""
    factor, low, high = scaling["factor"], scaling["low_freq_factor"], scaling["high_freq_factor"]
    original = scaling["original_max_position_embeddings"]
    factors = []
    for at in range(0, size, 2):
        length = 2 * math.pi * theta ** (at / size)
        smooth = (original / length - low) / (high - low)
        between = 1 / ((1 - smooth) / factor + smooth)
        factors.append(1 if length < original / high else factor if length > original / low else between)
    return torch.tensor(factors)


def test_divisors_of_rotary_frequencies(tmp_path: Path) -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    model = LLAMA.build(head_dim=64, rope_parameters={**scaling, "rope_theta": 500000.0})
    factors = rope_factors(500000.0, 64, scaling)
    assert len(set(factors.tolist())) > 3
    path = write(tmp_path / "model.gguf", LLAMA, model, tensors={"rope_freqs.weight": factors})
    config = read_checkpoint_config(path)
    assert config is not None
    assert config["rope_scaling"] == scaling
    plan = build(path, out=tmp_path / "engine.plan")
    np.testing.assert_allclose(load(plan).logits(IDS)[0], logits(model), atol=2e-4, rtol=0)
    other = write(tmp_path / "other.gguf", LLAMA, model, tensors={"rope_freqs.weight": factors * 1.01})
    with pytest.raises(
        BuildError, match=r"other\.gguf: tensor 'rope_freqs\.weight': the divisors .* safetensors files"
    ):
        build(other, out=tmp_path / "engine.plan")


def test_a_spec_and_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf", LLAMA, LLAMA.build())
    detected = build(path, out=tmp_path / "a.plan").read_bytes()
    assert build("llama", path, out=tmp_path / "b.plan").read_bytes() == detected


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: each.name)
def test_descriptions_name_every_tensor_of_the_writer(architecture: Architecture, tmp_path: Path) -> None:
    model = architecture.build()
    path = write(tmp_path / "model.gguf", architecture, model)
    assert not {name for name in open_weights(path).names() if name in gguf_tensors(architecture, model)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"general.architecture": "plamo"}, "'plamo' is not supported, expected one of", id="architecture"),
        pytest.param({"llama.rope.scaling.type": "yarn"}, "rope.scaling.type: the value 'yarn'", id="rope-scaling"),
        pytest.param({"llama.expert_count": 8}, "llama.expert_count: the value 8 is not supported", id="experts"),
        pytest.param({"general.alignment": 0}, "general.alignment is 0", id="alignment"),
    ],
)
def test_settings_that_are_not_supported(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, settings.pop("general.architecture", "llama"))
    for key, value in settings.items():
        writer.add_key_value(
            key, value, gguf.GGUFValueType.UINT32 if isinstance(value, int) else gguf.GGUFValueType.STRING
        )
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    if "general.alignment" not in settings:
        writer.write_tensors_to_file()
    else:
        writer.write_ti_data_to_file()
    writer.close()
    with pytest.raises(BuildError, match=re.escape(message)):
        build(path, out=tmp_path / "engine.plan")


def test_the_package_is_named_if_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "model.gguf", LLAMA, LLAMA.build())
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(
        BuildError, match=r"model\.gguf: the package gguf is missing.*pip install 'archc-compiler\[gguf\]'"
    ):
        open_weights(path)


HEAD = b"GGUF" + struct.pack("<I", 3)
ONE_KEY, ONE_TENSOR = HEAD + struct.pack("<QQ", 0, 1), HEAD + struct.pack("<QQ", 1, 0)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "expected a GGUF file, got other data", id="empty"),
        pytest.param(b"GGML" + bytes(100), "expected a GGUF file, got other data", id="magic"),
        pytest.param(b"GGUF", "it ends within its header", id="magic-alone"),
        pytest.param(b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "GGUF version 1 is not supported", id="version-1"),
        pytest.param(b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "expected 2 or 3, little-endian", id="big-endian"),
        pytest.param(HEAD + struct.pack("<QQ", 2**60, 0), "1152921504606846976 tensors", id="tensors-absurd"),
        pytest.param(HEAD + struct.pack("<QQ", 0, 2**60), "1152921504606846976 keys", id="keys-absurd"),
        pytest.param(HEAD + struct.pack("<QQQ", 0, 1, 2**60), "a text of 1152921504606846976 bytes", id="text-absurd"),
        pytest.param(ONE_KEY + text(b"a") + struct.pack("<I", 77), "a value of type 77", id="type"),
        pytest.param(ONE_KEY + text(b"a") + struct.pack("<IIQ", 9, 8, 2**60), "lists of", id="list-absurd"),
        pytest.param(ONE_KEY + text(b"a") + struct.pack("<IIQ", 9, 9, 1), "a value of type 9", id="lists"),
        pytest.param(
            HEAD + struct.pack("<QQ", 0, 2) + (text(b"a") + struct.pack("<IB", 7, 1)) * 2, "'a' appears twice", id="key"
        ),
        pytest.param(ONE_TENSOR + text(b"a") + struct.pack("<I", 99), "has 99 axes", id="axes"),
        pytest.param(
            ONE_TENSOR + text(b"a") + struct.pack("<IQQIQ", 2, 2**40, 2**40, 0, 0), "has the shape", id="shape"
        ),
    ],
)
def test_damaged_headers(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(BuildError, match=re.escape(message)) as caught:
        build(path, out=tmp_path / "engine.plan")
    assert str(caught.value).startswith(str(path))
