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

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights
from archc.runtime.engine import load
from tests.compiler.weights.checkpoint.gguf_files import Architecture, in_pairs

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
        pytest.param({"use_scaled_rope": True}, "params.json: use_scaled_rope: the key is not supported", id="scaled"),
        pytest.param({"moe": {"num_experts": 8}}, "params.json: moe: the key is not supported; use", id="experts"),
        pytest.param({"norm_eps": None}, "params.json: norm_eps: the key is missing; use the same model's", id="none"),
        pytest.param({"n_heads": 5}, "does not have rows for 5 heads", id="heads"),
    ],
)
def test_settings_that_are_not_supported(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    write(tmp_path, LLAMA.build(), "llama", **more)
    with pytest.raises(BuildError, match=re.escape(message)):
        open_weights(tmp_path)


def test_parts_for_model_parallelism(tmp_path: Path) -> None:
    write(tmp_path, LLAMA.build(), "llama")
    (tmp_path / "consolidated.01.pth").write_bytes(b"x")
    with pytest.raises(BuildError, match=r"consolidated\.01\.pth: tensors in several parts .* ends in -hf"):
        build(tmp_path, out=tmp_path / "engine.plan")
