"""Checkpoint folders: where one is found, and the tokenizer files of a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint import folder as module
from archc.compiler.weights.checkpoint.folder import find_checkpoint, tokenizer_files


@pytest.mark.parametrize(
    ("where", "message"),
    [
        pytest.param("file", "expected a folder with config.json and safetensors files, got a file", id="file"),
        pytest.param("a/b/c", "no such folder; give a checkpoint folder, or a hub id", id="no-folder"),
        pytest.param("../owner", "no such folder; give a checkpoint folder, or a hub id", id="upwards"),
    ],
)
def test_a_place_without_a_checkpoint(
    where: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match=message):
        find_checkpoint(where)
    (tmp_path / "here").mkdir()
    assert find_checkpoint("here") == Path("here")


def test_tokenizer_files_are_those_that_the_runtime_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tokenizer.json", "chat_template.jinja", "modeling.py", "model.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
    names = ["tokenizer.json", "chat_template.jinja"]
    assert tokenizer_files(tmp_path) == {name: name.encode() for name in names}
    assert tokenizer_files(None) == {}
    monkeypatch.setattr(module, "_MAX_TOKENIZER_BYTES", 14)
    with pytest.raises(BuildError, match=r"chat_template\.jinja: 19 bytes, expected a tokenizer file of at most 14"):
        tokenizer_files(tmp_path)
