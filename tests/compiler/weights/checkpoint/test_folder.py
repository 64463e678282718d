"""Checkpoint folders: where one is found, and the tokenizer files of a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.folder import find_checkpoint


@pytest.mark.parametrize(
    ("where", "message"),
    [
        pytest.param(
            "file",
            "expected a checkpoint folder, or a file with the ending .gguf, .safetensors, .bin, .pth, .pt; got",
            id="file",
        ),
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
