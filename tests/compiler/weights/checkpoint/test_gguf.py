"""GGUF files as checkpoints: the plan's logits are those of transformers' model that the file was written from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize, quantize

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights, read_checkpoint_config
from archc.compiler.weights.checkpoint.gguf import stored
from archc.plan import Plan
from archc.runtime.engine import load
from tests.compiler.weights.checkpoint.gguf_architectures import ARCHITECTURES, Architecture, Type, in_pairs
from tests.compiler.weights.checkpoint.gguf_files import gguf_tensors, random_blocks, round_to, write

LLAMA = ARCHITECTURES[0]
IDS = [1, 17, 40, 3, 55, 9, 9, 30]
QUANTIZED = [kind for kind in Type if hasattr(gguf.quants, kind.name) and kind.name != "BF16"]
KINDS = [Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0]


def logits(model: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    with torch.no_grad():
        return np.asarray(model(torch.tensor([IDS])).logits[0].numpy())


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_logits_equal_those_of_transformers(architecture: Architecture, tmp_path: Path) -> None:
    model = architecture.build()
    path = write(tmp_path / "model.gguf", architecture, model)
    plan = build(path, out=tmp_path / "engine.plan", warn=lambda message: None)
    np.testing.assert_allclose(load(plan).logits(IDS)[0], logits(model), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_logits_of_stored_types(kind: Type, tmp_path: Path) -> None:
    model = LLAMA.build()
    round_to(model, kind)
    path = write(tmp_path / "model.gguf", LLAMA, model, kind)
    plan = build(path, out=tmp_path / "engine.plan", warn=lambda message: None)
    np.testing.assert_allclose(load(plan).logits(IDS)[0], logits(model), atol=1e-4, rtol=0)


def test_experts_in_mxfp4(tmp_path: Path) -> None:
    architecture = next(each for each in ARCHITECTURES if each.name == "gpt-oss")
    model = architecture.build()
    tensors = gguf_tensors(architecture, model)
    experts = {name: value for name, value in tensors.items() if name.endswith("_exps.weight")}
    path = write(tmp_path / "model.gguf", architecture, model, kinds=dict.fromkeys(experts, Type.MXFP4))
    rounded = {name: mxfp4(value) for name, value in experts.items()}
    with torch.no_grad():
        for number, layer in enumerate(model.model.layers):
            stem = f"blk.{number}.ffn_"
            halves = [rounded[f"{stem}{part}_exps.weight"] for part in ("gate", "up")]
            layer.mlp.experts.gate_up_proj.copy_(torch.stack(halves, dim=2).flatten(1, 2).transpose(1, 2))
            layer.mlp.experts.down_proj.copy_(rounded[f"{stem}down_exps.weight"].transpose(1, 2))
    plan = build(path, out=tmp_path / "engine.plan", warn=lambda message: None)
    np.testing.assert_allclose(load(plan).logits(IDS)[0], logits(model), atol=1e-4, rtol=0)


def mxfp4(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor as it is after quantization."""
    return torch.from_numpy(dequantize(quantize(value.contiguous().numpy(), Type.MXFP4), Type.MXFP4))


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_every_tensor_has_the_hub_name_and_values(architecture: Architecture, tmp_path: Path) -> None:
    model = architecture.build()
    weights = open_weights(write(tmp_path / "model.gguf", architecture, model))
    state = {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith("lm_head") or name in weights.names()
    }
    if architecture.name != "gpt-oss":
        state = dict(entry for name, value in state.items() for entry in per_expert(name, value, str(architecture)))
    assert set(weights.names()) == set(state)
    weights.check_numbers(weights.names())
    for name, value in state.items():
        assert weights.shape(name) == tuple(value.shape)
        torch.testing.assert_close(weights.read(name), value, atol=1e-6, rtol=0)
        for place in ((slice(1, 3),), (3,), (slice(0, len(value)),))[0 if len(value) > 3 else 2 :]:
            torch.testing.assert_close(weights.read(name, place), value[place], atol=1e-6, rtol=0)


def per_expert(name: str, value: torch.Tensor, architecture: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a tensor under its names on the hub, which has one for each expert."""
    if architecture == "mixtral":
        name = name.replace(".mlp.", ".block_sparse_moe.")
    if ".experts." not in name:
        yield name, value
        return
    stem, _, part = name.rpartition(".")
    gate, up, down = ("w1", "w3", "w2") if architecture == "mixtral" else ("gate_proj", "up_proj", "down_proj")
    for expert, each in enumerate(value):
        halves = zip((gate, up), each.chunk(2), strict=True) if part == "gate_up_proj" else [(down, each)]
        yield from ((f"{stem}.{expert}.{half}.weight", matrix) for half, matrix in halves)


def test_a_tensor_for_each_expert(tmp_path: Path) -> None:
    architecture = next(each for each in ARCHITECTURES if each.id == "mixtral")
    model = architecture.build()
    stacked = open_weights(write(tmp_path / "new.gguf", architecture, model))
    singles = {
        f"{name.removesuffix('_exps.weight')}.{expert}.weight": matrix
        for name, value in gguf_tensors(architecture, model).items()
        if name.endswith("_exps.weight")
        for expert, matrix in enumerate(value)
    }
    old = open_weights(write(tmp_path / "old.gguf", architecture, model, tensors=singles, without="_exps.weight"))
    assert set(old.names()) == set(stacked.names())
    assert all(torch.equal(old.read(name), stacked.read(name)) for name in old.names())


@pytest.mark.parametrize("kind", QUANTIZED, ids=lambda kind: kind.name)
def test_rows_of_quantized_types(kind: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    blocks = random_blocks((32, 512), kind, seed=3)
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_head_count(4)
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    writer.add_tensor("blk.0.attn_q.weight", blocks, raw_dtype=kind)
    writer.add_tensor("blk.0.ffn_up.weight", blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with np.errstate(all="ignore"):
        expected = torch.from_numpy(dequantize(blocks, kind))
    monkeypatch.setattr(stored, "_BLOCK_BYTES", 10_000)
    weights = open_weights(path)
    assert weights.dtype(name) == "F32"
    assert weights.bytes(name) == 4 * 32 * 512
    value = weights.read(name)
    assert same(weights.read("model.layers.0.mlp.up_proj.weight"), expected)
    assert same(in_pairs(value, 4), expected)
    assert same(weights.read(name, (slice(7, 21),)), value[7:21])


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Return whether all bits are equal: random scales of blocks may be infinite or no number."""
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())


def test_config_is_that_of_the_model(tmp_path: Path) -> None:
    config = read_checkpoint_config(write(tmp_path / "model.gguf", LLAMA, LLAMA.build()))
    assert config is not None
    assert config["rope_theta"] == 500000.0
    assert config["rms_norm_eps"] == 1e-5
    assert config["tie_word_embeddings"] is False
    assert (config["bos_token_id"], config["eos_token_id"]) == (1, 2)


def test_stop_tokens_and_settings_of_generation(tmp_path: Path) -> None:
    settings = {
        "tokenizer.ggml.eot_token_id": 5,
        "tokenizer.ggml.eom_token_id": 2,
        "general.sampling.top_k": 20,
        "general.sampling.temp": 0.7,
        "general.sampling.penalty_repeat": 1.5,
    }
    path = write(tmp_path / "model.gguf", LLAMA, LLAMA.build(), settings=settings)
    with Plan(build(path, out=tmp_path / "engine.plan", warn=lambda message: None)) as plan:
        assert plan.manifest.tokens.eos == (2, 5)
        assert plan.manifest.generation is not None
        assert plan.manifest.generation.settings == {
            "do_sample": True,
            "temperature": 0.7,
            "top_k": 20,
            "repetition_penalty": 1.5,
        }


def test_a_spec_and_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf", LLAMA, LLAMA.build())
    detected = build(path, out=tmp_path / "a.plan").read_bytes()
    assert build("llama", path, out=tmp_path / "b.plan").read_bytes() == detected


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_descriptions_name_every_tensor_of_the_writer(architecture: Architecture, tmp_path: Path) -> None:
    model = architecture.build()
    path = write(tmp_path / "model.gguf", architecture, model)
    assert not {name for name in open_weights(path).names() if name in gguf_tensors(architecture, model)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"general.architecture": "plamo"}, "'plamo' is not supported, expected one of", id="architecture"),
        pytest.param(
            {"llama.rope.scaling.type": "ntk"}, "llama.rope.scaling.type: the value 'ntk' is not", id="rope-scaling"
        ),
        pytest.param({"llama.rope.scaling.factor": 0.0}, "factor: expected a positive number, got 0.0", id="factor"),
        pytest.param(
            {"llama.attention.head_count": [4, 2]},
            "llama.attention.head_count: values that differ from layer to layer are not supported; use the model's",
            id="heads-by-layer",
        ),
        pytest.param(
            {"general.architecture": "phi3"}, "partial_rotary_factor cannot be computed: ", id="setting-missing"
        ),
        pytest.param(
            {"general.architecture": "olmo2", "olmo2.attention.sliding_window": 4},
            "olmo2.attention.sliding_window: the value 4 is not supported",
            id="olmo3",
        ),
        pytest.param({"general.alignment": 0}, "general.alignment is 0", id="alignment"),
    ],
)
def test_settings_that_are_not_supported(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, settings.pop("general.architecture", "llama"))
    for key, value in settings.items():
        is_count = isinstance(value, int)
        writer.add_key_value(key, value, gguf.GGUFValueType.UINT32 if is_count else gguf.GGUFValueType.get_type(value))
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
