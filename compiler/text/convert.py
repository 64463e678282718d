"""Conversion of a checkpoint folder's tokenizer files to the files that a plan stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from archc.compiler.errors import BuildError
from archc.compiler.text.settings import TextSettings

# Files that the runtime reads; a plan holds no other file of a checkpoint folder.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
)
_MAX_BYTES = 256 * 2**20


def convert(folder: Path, settings: TextSettings, warn: Callable[[str], None]) -> dict[str, bytes]:
    """Return the tokenizer files of a plan by name, tokenizer.json among them if the folder has a vocabulary."""
    files: dict[str, bytes] = {}
    for name in TOKENIZER_FILES:
        path = folder / name
        if path.is_file():
            if path.stat().st_size > _MAX_BYTES:
                raise BuildError(
                    f"{path}: {path.stat().st_size} bytes, expected a tokenizer file of at most {_MAX_BYTES}; "
                    "download it again"
                )
            files[name] = path.read_bytes()
    return files
