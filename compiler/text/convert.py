"""Conversion of tokenizer files, of a checkpoint's folder or from elsewhere, to the files that a plan stores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from archc.compiler.errors import BuildError
from archc.compiler.text.definition import serialize
from archc.compiler.text.files import read_bytes, read_object
from archc.compiler.text.formats import find_file, own_engine, read_definition
from archc.compiler.text.settings import TextSettings
from archc.compiler.text.special_ids import add_special, complete, read_roles, surroundings

# Files that the runtime reads next to tokenizer.json; a plan holds no other file of a checkpoint folder.
_CONFIGURATION = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
)
# Tokenizer files on the hub besides *.json and *.jinja.
TOKENIZER_PATTERNS = (
    "tokenizer.model*",
    "*.tiktoken",
    "*.spm",
    "*.model",
    "vocab.txt",
    "merges.txt",
    "rwkv_vocab*.txt",
)


def convert_files(
    checkpoint: Path | None, tokenizer: str | Path | None, settings: TextSettings, warn: Callable[[str], None]
) -> dict[str, bytes]:
    """Return the tokenizer files of a plan: of `tokenizer`, a folder or a file, or of the checkpoint's folder.

    A tokenizer's folder replaces all text files of the checkpoint but generation_config.json; a file replaces its
    vocabulary. Raises BuildError if `tokenizer` is not there, has none, or is damaged.
    """
    if tokenizer is None:
        return {} if checkpoint is None else convert(checkpoint, settings, warn)
    path = Path(tokenizer)
    if path.is_dir():
        files = {name: data for name, data in convert(path, settings, _refuse).items() if name != _CONFIGURATION[-1]}
        return files | (_read(checkpoint, _CONFIGURATION[-1:]) if checkpoint is not None else {})
    if not path.is_file():
        raise BuildError(f"--tokenizer {tokenizer}: no such folder or file; name a folder or a file of a tokenizer")
    folder = checkpoint or path.parent
    return _with_chat(_read(folder, _CONFIGURATION) | _converted(path, folder, settings, _refuse), folder, settings)


def convert(folder: Path, settings: TextSettings, warn: Callable[[str], None]) -> dict[str, bytes]:
    """Return the tokenizer files of a plan by name, tokenizer.json among them if the folder has a vocabulary.

    Raises BuildError for a damaged file. A folder without a tokenizer is a warning.
    """
    # A GGUF file is a checkpoint of its own: no other file describes its tokenizer.
    if folder.suffix == ".gguf" and folder.is_file():
        return _with_chat(_converted(folder, folder, settings, warn), folder, settings)
    files = _read(folder, _CONFIGURATION)
    found = find_file(folder)
    if isinstance(found, str):
        warn(f"{folder}: {found}; the plan has no text: it runs on token ids alone. Name a tokenizer with --tokenizer")
        return files
    return _with_chat(files | _converted(found, folder, settings, warn), folder, settings)


def _refuse(message: str) -> None:
    raise BuildError(f"--tokenizer {message}")


def _read(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    return {name: read_bytes(folder / name) for name in names if (folder / name).is_file()}


def _with_chat(files: dict[str, bytes], folder: Path, settings: TextSettings) -> dict[str, bytes]:
    """Return the files with the chat template of the settings if there is no other."""
    if settings.chat is None or _has_chat(folder) or "chat_template.jinja" in files:
        return files
    return {**files, "chat_template.jinja": settings.chat.encode()}


def _has_chat(folder: Path) -> bool:
    """Return whether a folder has a chat template."""
    stated = read_object(folder / "tokenizer_config.json").get("chat_template") is not None
    return stated or (folder / "chat_template.jinja").is_file()


def _converted(path: Path, folder: Path, settings: TextSettings, warn: Callable[[str], None]) -> dict[str, bytes]:
    """Return tokenizer.json, or the files of a tokenizer with its own engine in the runtime.

    Special tokens come from the folder's JSON files; special_tokens_map.json is added if those name none.
    """
    engine = own_engine(path)
    if engine:
        return engine
    definition = read_definition(path, folder, settings)
    if isinstance(definition, bytes):
        return {"tokenizer.json": complete(definition, folder)}
    if isinstance(definition, str):
        warn(f"{path}: {definition}; the plan has no text: it runs on token ids alone")
        return {}
    add_special(definition, folder, settings)
    begin, end = surroundings(definition, folder, settings, str(path))
    files = {"tokenizer.json": serialize(definition, begin, end, str(path))}
    if definition.chat is not None and not _has_chat(folder):
        files["chat_template.jinja"] = definition.chat.encode()
    if definition.roles and not read_roles(folder):
        files["special_tokens_map.json"] = json.dumps(definition.roles, ensure_ascii=False).encode()
    return files
