"""Checkpoint folders, local or from the Hugging Face Hub, and their config.json."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from archc.archspec import read_config
from archc.compiler.errors import BuildError
from archc.compiler.text.convert import TOKENIZER_PATTERNS

GGUF = ".gguf"
"""The ending of a file that is a whole checkpoint: settings, tokenizer and weights."""

_DOWNLOADED = ["*.safetensors", "*.json", "*.jinja", *TOKENIZER_PATTERNS]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


def is_checkpoint(path: str | Path) -> bool:
    """Return whether a path is a checkpoint: a folder, or a GGUF file."""
    return Path(path).is_dir() or (Path(path).suffix == GGUF and Path(path).is_file())


def find_checkpoint(where: str | Path) -> Path:
    """Return a local folder or GGUF file, or the download of a hub id `owner/name[@revision]`.

    Raises BuildError if there is no such folder and the download fails.
    """
    folder = Path(where)
    if is_checkpoint(folder):
        return folder
    if folder.exists():
        raise BuildError(f"{where}: expected a folder with config.json and weights, or a .gguf file, got another file")
    if not _HUB_ID.fullmatch(str(where)):
        raise BuildError(f"{where}: no such folder; give a checkpoint folder, or a hub id owner/name[@revision]")
    return _download(str(where))


def _download(hub_id: str) -> Path:
    """Download the data files of a repository: no code of a checkpoint is stored or run."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, _, revision = hub_id.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=_DOWNLOADED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BuildError(
            f"{hub_id}: no such folder, and the download from the hub failed: {reason:.300}; check name and access"
        ) from None


def read_folder_config(folder: Path) -> dict[str, Any] | None:
    """Return config.json of a checkpoint folder, or None if there is none. Raises ConfigError for a damaged file."""
    path = folder / "config.json"
    return read_config(path) if path.is_file() else None
