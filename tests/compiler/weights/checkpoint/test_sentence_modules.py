"""Folders of sentence-transformers: `pooled` equals the embeddings of the library that wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.error import Error
from archc.plan import Plan
from archc.runtime.engine import load
from archc.runtime.errors import PromptError
from tests.compiler.weights.checkpoint.sentence_folders import WORDS, write_sentence_transformer, write_transformer

TEXTS = ["w1 w2 w3 w4 w5 w6 w7", "w9", "w3 w3 w12 w29"]


def ids() -> list[list[int]]:
    return [[WORDS.index(word) for word in text.split()] for text in TEXTS]


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
@pytest.mark.parametrize("normalize", [True, False], ids=["normalized", "as-pooled"])
@pytest.mark.parametrize("mode", ["mean", "max", "cls"])
def test_pooled_equals_sentence_transformers(tmp_path: Path, mode: str, normalize: bool, kind: str) -> None:
    model = write_sentence_transformer(tmp_path, mode, normalize, kind)
    engine = load(build(tmp_path / "sentences", out=tmp_path / "a.plan"))
    pooled = engine.pooled(ids())
    assert np.abs(pooled - model.encode(TEXTS)).max() < 1e-5
    assert np.abs(pooled[1] - engine.pooled([ids()[1]])[0]).max() < 1e-5
    if normalize:
        assert np.abs(np.linalg.norm(pooled, axis=-1) - 1).max() < 1e-5


@pytest.mark.parametrize("mode", ["lasttoken", "weightedmean"])
def test_pooling_by_position(tmp_path: Path, mode: str) -> None:
    model = write_sentence_transformer(tmp_path, mode, False)
    pooled = load(build(tmp_path / "sentences", out=tmp_path / "a.plan")).pooled(ids())
    assert np.abs(pooled - model.encode(TEXTS)).max() < 1e-5


@pytest.mark.parametrize("kind", ["decoder", "both-directions"])
def test_a_decoder_of_sentence_transformers(tmp_path: Path, kind: str) -> None:
    transformer = Transformer(str(write_transformer(tmp_path / "bare", kind)))
    if kind == "decoder":
        parts = [Pooling(32, pooling_mode="lasttoken"), Normalize()]
    else:
        identity = torch.nn.Identity()
        dense = [Dense(32, 48, False, identity), Dense(48, 24, False, identity)]
        parts = [Pooling(32, pooling_mode="mean"), *dense, Normalize()]
    model = SentenceTransformer(modules=[transformer, *parts], device="cpu")
    model.save(str(tmp_path / "sentences"))
    engine = load(build(tmp_path / "sentences", out=tmp_path / "a.plan"))
    expected = model.encode(TEXTS)
    assert np.abs(engine.embed(TEXTS) - expected).max() < 1e-5
    assert np.abs(engine.embed(ids())[1] - engine.embed(TEXTS[1])[0]).max() < 1e-5
    shorter = model.encode(TEXTS, truncate_dim=7, normalize_embeddings=True)
    assert np.abs(engine.embed(TEXTS, width=7) - shorter).max() < 1e-5
    with pytest.raises(PromptError, match="width: expected 1 to "):
        engine.embed(TEXTS, width=33)


ACTIVATIONS = {
    "tanh": torch.nn.Tanh(),
    "none": torch.nn.Identity(),
    "relu": torch.nn.ReLU(),
    "gelu": torch.nn.GELU(),
    "silu": torch.nn.SiLU(),
}


def write_dense(folder: Path, *modules: torch.nn.Module, kind: str = "bert", mode: Any = "mean") -> SentenceTransformer:
    parts = [Transformer(str(write_transformer(folder / "bare", kind))), Pooling(32, pooling_mode=mode)]
    model = SentenceTransformer(modules=[*parts, *modules], device="cpu")
    model.save(str(folder / "sentences"))
    return model


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_dense_projection_equals_that_of_sentence_transformers(tmp_path: Path, activation: str) -> None:
    dense = Dense(32, 20, bias=activation != "none", activation_function=ACTIVATIONS[activation])
    model = write_dense(tmp_path, dense, kind="distilbert")
    with Plan(build(tmp_path / "sentences", out=tmp_path / "a.plan")) as plan:
        assert next(output.shape for output in plan.manifest.outputs if output.role == "pooled") == ("batch", 20)
    pooled = load(tmp_path / "a.plan").pooled(ids())
    expected = model.encode(TEXTS)
    assert pooled.shape == expected.shape == (3, 20)
    assert np.abs(pooled - expected).max() < 1e-5


@pytest.mark.parametrize("container", ["model.safetensors", "pytorch_model.bin"])
def test_a_normalized_projection_next_to_a_pooler_of_the_model(tmp_path: Path, container: str) -> None:
    model = write_dense(tmp_path, Dense(32, 32), Normalize(), mode="cls")
    file = tmp_path / "sentences" / "2_Dense" / "model.safetensors"
    if container != file.name:
        torch.save(load_file(file), file.with_name(container))
        file.unlink()
    pooled = load(build(tmp_path / "sentences", out=tmp_path / "a.plan")).pooled(ids())
    assert np.abs(pooled - model.encode(TEXTS)).max() < 1e-5
    assert np.abs(np.linalg.norm(pooled, axis=-1) - 1).max() < 1e-5


def test_a_projection_is_left_out_by_an_override(tmp_path: Path) -> None:
    write_dense(tmp_path, Dense(32, 20))
    pooled = load(build(tmp_path / "sentences", out=tmp_path / "a.plan", overrides=["pooler=mean"])).pooled(ids())
    assert pooled.shape == (3, 32)


DENSE = {
    "residual": ({"use_residual": True}, "use_residual: True is not supported; choose a pooler"),
    "other-input": ({"module_input_name": "token_embeddings"}, "module_input_name: token_embeddings is not supported"),
    "other-activation": ({"activation_function": "torch.nn.modules.activation.Softmax"}, "Softmax is not supported"),
    "code": ({"activation_function": "os.system.Tanh"}, "activation_function: os.system.Tanh is not supported"),
    "no-width": ({"out_features": True}, "expected a number as out_features"),
    "wide": ({"out_features": 21}, r"pooler.dense.weight: the spec expects shape \[21, 32\]"),
    "no-bias": ({"bias": False}, r"2_Dense\.linear\.bias"),
}


@pytest.mark.parametrize(("more", "message"), DENSE.values(), ids=DENSE)
def test_projections_that_are_refused(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    write_dense(tmp_path, Dense(32, 20))
    file = tmp_path / "sentences" / "2_Dense" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | more), "utf-8")
    with pytest.raises(Error, match=message):
        build(tmp_path / "sentences", out=tmp_path / "a.plan")


def test_a_projection_without_weights(tmp_path: Path) -> None:
    write_dense(tmp_path, Dense(32, 20))
    file = tmp_path / "sentences" / "2_Dense" / "model.safetensors"
    save_file({"linear.weight": torch.zeros(20, 32)}, file)
    with pytest.raises(BuildError, match=r"tensor '2_Dense\.linear\.bias' not found; download"):
        build(tmp_path / "sentences", out=tmp_path / "a.plan")
    file.unlink()
    with pytest.raises(BuildError, match=r"2_Dense: no weights: model\.safetensors.*not found; give the folder"):
        build(tmp_path / "sentences", out=tmp_path / "a.plan")


@pytest.mark.parametrize("order", [("Normalize", "Dense"), ("Dense",) * 3], ids=["normalized-first", "three"])
def test_an_order_of_modules_that_is_refused(tmp_path: Path, order: tuple[str, ...]) -> None:
    made = {"Normalize": Normalize, "Dense": lambda: Dense(32, 32)}
    write_dense(tmp_path, *(made[name]() for name in order))
    message = f"the modules Pooling, {', '.join(order)} are not supported in this order, only Pooling, Dense, Dense"
    with pytest.raises(BuildError, match=message):
        build(tmp_path / "sentences", out=tmp_path / "a.plan")


def test_the_older_form_of_a_pooling_file(tmp_path: Path) -> None:
    model = write_sentence_transformer(tmp_path, "mean", True)
    file = tmp_path / "sentences" / "1_Pooling" / "config.json"
    old = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    file.write_text(json.dumps(old), "utf-8")
    engine = load(build(tmp_path / "sentences", out=tmp_path / "a.plan"))
    assert np.abs(engine.pooled(ids()) - model.encode(TEXTS)).max() < 1e-5


def test_an_override_chooses_another_pooler(tmp_path: Path) -> None:
    write_sentence_transformer(tmp_path, "mean", True)
    plain = load(build(tmp_path / "bare", out=tmp_path / "a.plan")).pooled(ids())
    chosen = build(tmp_path / "sentences", out=tmp_path / "b.plan", overrides=["pooler=first-token"])
    assert np.abs(load(chosen).pooled(ids()) - plain).max() < 1e-6
    cls = build(tmp_path / "sentences", out=tmp_path / "c.plan", overrides=["pooler=cls"])
    assert np.abs(load(cls).pooled(ids()) - load(cls).encode(ids())[:, 0]).max() < 1e-6


def modules(kind: str, path: str) -> str:
    return json.dumps([{"idx": 0, "name": "0", "path": path, "type": f"sentence_transformers.models.{kind}"}])


REFUSED = {
    "lstm": ("modules.json", modules("LSTM", "2_LSTM"), "the module LSTM is not"),
    "dense-alone": ("modules.json", modules("Dense", "1_Pooling"), "expected a number as out_features"),
    "normalize-alone": ("modules.json", modules("Normalize", "1"), "the modules Normalize are not supported in this"),
    "root-of-length": (
        "1_Pooling/config.json",
        '{"pooling_mode": "mean_sqrt_len_tokens"}',
        "pooling by mean_sqrt_len_tokens is not",
    ),
    "two-modes": (
        "1_Pooling/config.json",
        '{"pooling_mode": ["mean", "max"]}',
        "pooling by mean, max is not",
    ),
    "no-mode": ("1_Pooling/config.json", "{}", "pooling by no mode is not supported"),
    "no-list": ("modules.json", "{}", "expected a list of modules"),
    "no-json": ("modules.json", "[", "not a JSON file"),
    "upwards": ("modules.json", modules("Pooling", "../x"), "a type and a path"),
    "no-pooling-file": (
        "modules.json",
        modules("Pooling", "3_P"),
        "3_P/config.json: not",
    ),
}


@pytest.mark.parametrize(("name", "text", "message"), REFUSED.values(), ids=REFUSED)
def test_modules_that_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    write_sentence_transformer(tmp_path, "mean", False)
    (tmp_path / "sentences" / name).write_text(text, "utf-8")
    with pytest.raises(BuildError, match=message):
        build(tmp_path / "sentences", out=tmp_path / "a.plan")
