"""Checkpoint folders: where one is found, and the tokenizer files of a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.folder import checkpoint_path, find_checkpoint


@pytest.mark.parametrize(
    ("where", "message"),
    [
        pytest.param(
            "file",
            "expected a checkpoint folder, or a file with the ending .gguf, .safetensors, .bin, .pth, .pt; got",
            id="file",
        ),
        pytest.param("a/b/c", "no such folder; give a checkpoint folder, or a hub id", id="no-folder"),
        pytest.param("no.gguf", "no.gguf: no such file; check the path, or give a hub id", id="no-gguf"),
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


def test_a_folder_with_gguf_files(tmp_path: Path) -> None:
    (tmp_path / "mmproj-model.gguf").touch()
    assert checkpoint_path(tmp_path) == tmp_path
    (tmp_path / "a-00002-of-00002.gguf").touch()
    assert checkpoint_path(tmp_path) == tmp_path / "a-00002-of-00002.gguf"
    (tmp_path / "b.gguf").touch()
    with pytest.raises(BuildError, match=r"GGUF files of 2 models, a-00001-of-00002\.gguf, b\.gguf; give one"):
        checkpoint_path(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert checkpoint_path(tmp_path) == tmp_path
