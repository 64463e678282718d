"""Checkpoint folders, local or from the Hugging Face Hub, and their config.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archc.archspec import read_config
from archc.compiler.errors import BuildError
from archc.compiler.files.gguf_parts import part_names
from archc.compiler.weights.checkpoint.hub import Snapshot, fetch_config, fetch_gguf, is_hub_id

GGUF = ".gguf"
"""The ending of a file that is a whole checkpoint: settings, tokenizer and weights."""

WEIGHTS = (".safetensors", ".bin", ".pth", ".pt")
"""Endings of files with weights alone."""

# A file with the vision encoder of a model, next to the one with its decoder.
_PROJECTOR = "mmproj"


def is_checkpoint(path: str | Path) -> bool:
    """Return whether a path is a checkpoint: a folder, a GGUF file, or a file of weights."""
    return Path(path).is_dir() or (Path(path).suffix in (GGUF, *WEIGHTS) and Path(path).is_file())


def checkpoint_path(path: str | Path) -> Path:
    """Return a checkpoint's path; of a folder whose only weights are one GGUF file, in parts or not, this file.

    Raises BuildError for a folder with GGUF files of several models.
    """
    folder = Path(path)
    if not folder.is_dir() or any(file.suffix in WEIGHTS for file in folder.iterdir()):
        return folder
    files = sorted(file for file in folder.glob(f"*{GGUF}") if not file.name.startswith(_PROJECTOR))
    models = {part_names(file.name)[0] for file in files}
    if len(models) > 1:
        raise BuildError(
            f"{folder}: GGUF files of {len(models)} models, {', '.join(sorted(models)[:3])}"
            f"{', …' if len(models) > 3 else ''}; give one of the files in place of the folder"
        )
    return files[0] if files else folder


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

    Of a hub id that ends in `:FILE.gguf`, this file is downloaded. Raises BuildError if there is no such folder, or if
    the repository cannot be fetched or read.
    """
    folder = Path(where)
    if is_checkpoint(folder):
        return local_source(folder)
    if folder.exists():
        endings = ", ".join((GGUF, *WEIGHTS))
        raise BuildError(
            f"{where}: expected a checkpoint folder, or a file with the ending {endings}; got another file"
        )
    if not is_hub_id(where) and folder.suffix == GGUF:
        raise BuildError(f"{where}: no such file; check the path, or give a hub id owner/name:FILE{GGUF}")
    if not is_hub_id(where):
        raise BuildError(f"{where}: no such folder; give a checkpoint folder, or a hub id owner/name[@revision]")
    if str(where).endswith(GGUF):
        return Source(fetch_gguf(str(where)))
    snapshot = fetch_config(str(where))
    return Source(snapshot.folder, snapshot)


def local_source(path: Path) -> Source:
    """Return a local checkpoint: the path itself, or what holds the settings and weights of such a folder.

    That is the folder `original` with params.json, or the only GGUF file; see `checkpoint_path`.
    """
    inner = path / "original"
    has_settings = any((path / name).is_file() for name in ("config.json", "params.json"))
    if not has_settings and (inner / "params.json").is_file():
        return Source(inner)
    return Source(checkpoint_path(path))


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
