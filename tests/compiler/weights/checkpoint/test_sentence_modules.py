"""Folders of sentence-transformers: `pooled` equals the embeddings of the library that wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.runtime.engine import load
from tests.compiler.weights.checkpoint.sentence_folders import WORDS, write_sentence_transformer

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
    "dense": ("modules.json", modules("Dense", "2_Dense"), "the module Dense is not"),
    "last-token": ("1_Pooling/config.json", '{"pooling_mode": "lasttoken"}', "pooling by lasttoken is not"),
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
