"""Checkpoint folders, local or from the Hugging Face Hub: config.json and tokenizer files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from archc.archspec import read_config
from archc.compiler.errors import BuildError

# Files that the runtime reads; a plan holds no other file of a checkpoint folder.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
)
_DOWNLOADED = ["*.safetensors", "*.json", "*.jinja"]
_MAX_TOKENIZER_BYTES = 256 * 2**20
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


def find_checkpoint(where: str | Path) -> Path:
    """Return a local folder, or the download of a hub id `owner/name[@revision]`.

    Raises BuildError if there is no such folder and the download fails.
    """
    folder = Path(where)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise BuildError(f"{where}: expected a folder with config.json and safetensors files, got a file")
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


def tokenizer_files(folder: Path | None) -> dict[str, bytes]:
    """Return the tokenizer files of a folder by name, without those that it lacks."""
    files: dict[str, bytes] = {}
    if folder is None:
        return files
    for name in TOKENIZER_FILES:
        path = folder / name
        if path.is_file():
            if path.stat().st_size > _MAX_TOKENIZER_BYTES:
                raise BuildError(
                    f"{path}: {path.stat().st_size} bytes, expected a tokenizer file of at most "
                    f"{_MAX_TOKENIZER_BYTES}; download it again"
                )
            files[name] = path.read_bytes()
    return files
