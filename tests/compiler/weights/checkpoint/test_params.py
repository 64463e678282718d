"""Folders with params.json, as Meta and Mistral publish them: logits are those of transformers' model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from archc.cli.app import main
from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights, read_checkpoint_config
from archc.plan import Plan
from archc.runtime.engine import load
from tests.compiler.weights.checkpoint.gguf_architectures import Architecture, in_pairs

IDS = [1, 17, 40, 3, 55, 9, 9, 30]
LLAMA = Architecture("llama", "Llama", {"rope_theta": 500000.0})
MISTRAL = Architecture("mistral", "Mistral", {"head_dim": 32, "sliding_window": 4, "rope_theta": 10000.0})
PARTS = {
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.embed_tokens": "tok_embeddings",
    "model.norm": "norm",
    "lm_head": "output",
    "model.layers": "layers",
}


def consolidated(model: Any) -> dict[str, torch.Tensor]:
    """Return the tensors under the names of Meta's and Mistral's code, with the rows of each head in pairs."""
    result = {}
    for name, value in model.state_dict().items():
        if ".q_proj" in name or ".k_proj" in name:
            heads = model.config.num_attention_heads if ".q_proj" in name else model.config.num_key_value_heads
            value = in_pairs(value, heads).contiguous()
        for hub, part in PARTS.items():
            name = name.replace(hub, part)
        result[name] = value
    return result


def write(folder: Path, model: Any, kind: str, **more: Any) -> None:
    config = model.config
    params = {
        "dim": config.hidden_size,
        "n_layers": config.num_hidden_layers,
        "n_heads": config.num_attention_heads,
        "n_kv_heads": config.num_key_value_heads,
        "norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_parameters["rope_theta"],
        "vocab_size": -1,
        "multiple_of": 32,
    }
    if kind == "mistral":
        params |= {"head_dim": config.head_dim, "hidden_dim": config.intermediate_size}
        params |= {"sliding_window": config.sliding_window, "vocab_size": config.vocab_size}
        del params["multiple_of"]
        save_file(consolidated(model), folder / "consolidated.safetensors")
    else:
        rope = {"rope.freqs": torch.ones(8)}
        torch.save({**consolidated(model), **rope}, folder / "consolidated.00.pth")
    (folder / "params.json").write_text(json.dumps({**params, **more}), "utf-8")


@pytest.mark.parametrize("architecture", [LLAMA, MISTRAL], ids=["meta", "mistral"])
def test_logits_equal_those_of_transformers(architecture: Architecture, tmp_path: Path) -> None:
    model = architecture.build()
    write(tmp_path, model, architecture.name)
    plan = build(tmp_path, out=tmp_path / "engine.plan")
    with torch.no_grad():
        expected = model(torch.tensor([IDS])).logits[0].numpy()
    np.testing.assert_allclose(load(plan).logits(IDS)[0], expected, atol=2e-4, rtol=0)
    weights, state = open_weights(tmp_path), model.state_dict()
    name = "model.layers.1.self_attn.k_proj.weight"
    for place in ((), (slice(3, 21),), (5,), (slice(1, 9), 2)):
        assert torch.equal(weights.read(name, place), state[name][place] if place else state[name])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param({"lora_args": {"rank": 16}}, "params.json: lora_args: the key is not supported; use", id="lora"),
        pytest.param({"moe": {"num_experts": 8}}, "params.json: moe: the key is not supported; use", id="experts"),
        pytest.param({"norm_eps": None}, "params.json: norm_eps: the key is missing; use the same model's", id="none"),
        pytest.param({"n_heads": 5}, "does not have rows for 5 heads", id="heads"),
    ],
)
def test_settings_that_are_not_supported(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    write(tmp_path, LLAMA.build(), "llama", **more)
    with pytest.raises(BuildError, match=re.escape(message)):
        open_weights(tmp_path)


def tensors_of(file: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name."""
    weights = open_weights(file)
    return {name: weights.read(name) for name in weights.names()}


def split(tensors: dict[str, torch.Tensor], count: int, table_axis: int) -> list[dict[str, torch.Tensor]]:
    """Return parts as fairscale's ColumnParallelLinear, RowParallelLinear and parallel embeddings split them."""

    def parts(name: str, value: torch.Tensor) -> list[torch.Tensor]:
        if "norm" in name or "rope" in name:
            return [value] * count
        axis = table_axis if "tok_embeddings" in name else 1 if re.search(r"\.(wo|w2)\.", name) else 0
        return [part.contiguous() for part in value.chunk(count, dim=axis)]

    return [{name: parts(name, value)[index] for name, value in tensors.items()} for index in range(count)]


def write_parts(folder: Path, table_axis: int = 0, **more: Any) -> Any:
    """Write a Llama in two parts; return the model."""
    model = LLAMA.build()
    write(folder, model, "llama", **more)
    for index, part in enumerate(split(tensors_of(folder / "consolidated.00.pth"), 2, table_axis)):
        torch.save(part, folder / f"consolidated.{index:02}.pth")
    return model


@pytest.mark.parametrize("table_axis", [pytest.param(0, id="vocabulary-split"), pytest.param(1, id="width-split")])
def test_parts_for_model_parallelism(table_axis: int, tmp_path: Path) -> None:
    model = write_parts(tmp_path, table_axis)
    weights, state = open_weights(tmp_path), model.state_dict()
    assert {name for name in weights.names() if "inv_freq" not in name} == state.keys()
    for name, value in state.items():
        half = len(value) // 2
        places: list[tuple[int | slice, ...]] = [(), (slice(0, 5),), (slice(half - 2, half + 3),), (half,)]
        if value.dim() > 1:
            places += [(slice(1, half + 4), slice(30, 50)), (half + 1, 44)]
        for place in places:
            assert torch.equal(weights.read(name, place), value[place] if place else value), (name, place)
    plan = build(tmp_path, out=tmp_path / "engine.plan")
    with torch.no_grad():
        expected = model(torch.tensor([IDS])).logits[0].numpy()
    np.testing.assert_allclose(load(plan).logits([IDS])[0], expected, atol=2e-4, rtol=0)


def change(part: dict[str, torch.Tensor], name: str, value: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Return a part with another tensor, or without it."""
    return {key: each for key, each in {**part, name: value}.items() if each is not None}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        pytest.param("norm.weight", torch.zeros(64), "tensor 'norm.weight' differs between the parts", id="copies"),
        pytest.param("norm.weight", None, "tensor 'norm.weight' is not in every part; download", id="missing"),
        pytest.param("output.weight", torch.zeros(4, 5), "tensor 'output.weight' does not fit together", id="shape"),
        pytest.param("output.weight", torch.zeros(32, 64).half(), "'output.weight' does not fit together", id="dtype"),
    ],
)
def test_parts_that_do_not_fit_together(name: str, value: torch.Tensor | None, message: str, tmp_path: Path) -> None:
    write_parts(tmp_path)
    file = tmp_path / "consolidated.01.pth"
    torch.save(change(tensors_of(file), name, value), file)
    with pytest.raises(BuildError, match=re.escape(message)):
        build(tmp_path, out=tmp_path / "engine.plan")


def test_a_part_that_is_missing(tmp_path: Path) -> None:
    write_parts(tmp_path)
    (tmp_path / "consolidated.01.pth").rename(tmp_path / "consolidated.02.pth")
    message = r"consolidated\.01\.pth: not found, but consolidated\.02\.pth is there; download the folder again"
    with pytest.raises(BuildError, match=message):
        build(tmp_path, out=tmp_path / "engine.plan")


SCALED = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SCALED["original_max_position_embeddings"] = 8192


def test_scaled_rotary_positions(tmp_path: Path) -> None:
    rope = {"rope_theta": 500000.0, "factor": 32.0, **SCALED}
    model, unscaled = (LLAMA.build(tie_word_embeddings=True, **more) for more in ({"rope_parameters": rope}, {}))
    for name, value in [*model.named_parameters(), *unscaled.named_parameters()]:
        value.data *= 10 if ".q_proj" in name or ".k_proj" in name else 1  # so that small angles show
    write(tmp_path, model, "llama", use_scaled_rope=True)
    file = tmp_path / "consolidated.00.pth"
    torch.save(change(tensors_of(file), "output.weight", None), file)
    plan = build(tmp_path, out=tmp_path / "engine.plan", max_seq_len=128)
    ids = [*IDS, *range(3, 60), *range(2, 50)]
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
        other = unscaled(torch.tensor([ids])).logits[0].numpy()
    np.testing.assert_allclose(load(plan).logits([ids])[0], expected, atol=2e-4, rtol=0)
    assert abs(other - expected).max() > 1e-3


@pytest.mark.parametrize(
    ("params", "context", "factor"),
    [
        pytest.param({"dim": 3072, "use_scaled_rope": True}, 131072, 32.0, id="3.2-3b"),
        pytest.param({"dim": 4096, "use_scaled_rope": True}, 131072, 8.0, id="3.1-8b"),
        pytest.param({"dim": 4096}, 8192, None, id="3-8b"),
        pytest.param({"dim": 4096, "vocab_size": 32000}, None, None, id="2-7b"),
        pytest.param({"dim": 4096, "max_seq_len": 512}, 512, None, id="stated"),
    ],
)
def test_settings_of_versions(
    params: dict[str, Any], context: int | None, factor: float | None, tmp_path: Path
) -> None:
    write(tmp_path, LLAMA.build(), "llama", **{"vocab_size": 128256, **params})
    config = read_checkpoint_config(tmp_path)
    assert config is not None
    assert config.get("max_position_embeddings") == context
    assert config.get("rope_scaling") == (None if factor is None else {"factor": factor, **SCALED})
    assert config["vocab_size"] == 64  # of the tensor


def test_a_folder_around_the_original_one(tmp_path: Path) -> None:
    (tmp_path / "original").mkdir()
    write(tmp_path / "original", LLAMA.build(), "llama")
    file = tmp_path / "original/params.json"
    file.write_text(json.dumps({"model": json.loads(file.read_text("utf-8"))}), "utf-8")
    with Plan(build(tmp_path, out=tmp_path / "engine.plan")) as plan:
        assert plan.manifest.family == "llama"
    assert main(["check", str(tmp_path)]) == 0
