"""Checkpoint folders, local or from the Hugging Face Hub, and their config.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archc.archspec import read_config
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.hub import Snapshot, fetch_config, is_hub_id

GGUF = ".gguf"
"""The ending of a file that is a whole checkpoint: settings, tokenizer and weights."""

WEIGHTS = (".safetensors", ".bin", ".pth", ".pt")
"""Endings of files with weights alone."""


def is_checkpoint(path: str | Path) -> bool:
    """Return whether a path is a checkpoint: a folder, a GGUF file, or a file of weights."""
    return Path(path).is_dir() or (Path(path).suffix in (GGUF, *WEIGHTS) and Path(path).is_file())


@dataclass(frozen=True)
class Source:
    """A checkpoint folder or file; of a hub repository it has config and tokenizer until `fetch_weights`."""

    folder: Path
    snapshot: Snapshot | None = None

    def fetch_weights(self) -> None:
        """Download the weights of a hub repository into the folder. Raises BuildError if that fails."""
        if self.snapshot is not None:
            self.snapshot.fetch_weights()


def open_source(where: str | Path) -> Source:
    """Return a local folder or file, or the folder of a hub id `owner/name[@revision]` with its config and tokenizer.

    Raises BuildError if there is no such folder, or if the repository cannot be fetched or read.
    """
    folder = Path(where)
    if is_checkpoint(folder):
        return local_source(folder)
    if folder.exists():
        endings = ", ".join((GGUF, *WEIGHTS))
        raise BuildError(
            f"{where}: expected a checkpoint folder, or a file with the ending {endings}; got another file"
        )
    if not is_hub_id(where):
        raise BuildError(f"{where}: no such folder; give a checkpoint folder, or a hub id owner/name[@revision]")
    snapshot = fetch_config(str(where))
    return Source(snapshot.folder, snapshot)


def local_source(path: Path) -> Source:
    """Return a local checkpoint; of a folder without settings, the folder `original` in it that has params.json."""
    inner = path / "original"
    has_settings = any((path / name).is_file() for name in ("config.json", "params.json"))
    return Source(inner if not has_settings and (inner / "params.json").is_file() else path)


def find_checkpoint(where: str | Path) -> Path:
    """Return a local folder, or the download of a hub id, with its weights.

    Raises BuildError if there is no such folder and the download fails.
    """
    source = open_source(where)
    source.fetch_weights()
    return source.folder


def read_folder_config(folder: Path) -> dict[str, Any] | None:
    """Return config.json of a checkpoint folder, or None if there is none. Raises ConfigError for a damaged file."""
    path = folder / "config.json"
    return read_config(path) if path.is_file() else None
