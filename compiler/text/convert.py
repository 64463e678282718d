"""Conversion of a checkpoint folder's tokenizer files to the files that a plan stores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from archc.compiler.errors import BuildError
from archc.compiler.text import model_proto, ranks, sentencepiece, vocabulary
from archc.compiler.text.definition import Definition, load, serialize
from archc.compiler.text.files import read_bytes, read_object
from archc.compiler.text.settings import TextSettings
from archc.compiler.text.special_ids import add_special, complete, read_roles, surroundings
from archc.compiler.text.tekken import from_tekken

# Files that the runtime reads; a plan holds no other file of a checkpoint folder.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
)
# Sentencepiece models, or tiktoken's ranks under the same name, in the order of preference.
MODEL_NAMES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "ice_text.model", "tokenizer.model.v3")
_MAX_MODEL_BYTES = 64 * 2**20
# Files of tokenizers that have an engine of their own in the runtime.
_TWO_VOCABULARIES = ("source.spm", "target.spm", "vocab.json")
_LONGEST_MATCH = "rwkv_vocab*.txt"
_KNOWN = (
    *("tokenizer.json", "tekken.json", "vocab.json", "merges.txt", "vocab.txt", "source.spm", "target.spm"),
    *("*.tiktoken", "*.model", "*.model.v*", "*.spm", _LONGEST_MATCH, "*.bpe", "*vocab*"),
)


def convert(folder: Path, settings: TextSettings, warn: Callable[[str], None]) -> dict[str, bytes]:
    """Return the tokenizer files of a plan by name, tokenizer.json among them if the folder has a vocabulary.

    Raises BuildError for a damaged file. A folder without a tokenizer is a warning.
    """
    files = {name: read_bytes(folder / name) for name in TOKENIZER_FILES if (folder / name).is_file()}
    if "tokenizer.json" in files:
        files["tokenizer.json"] = complete(files["tokenizer.json"], folder)
    else:
        files |= _own_engine(folder) or _converted(folder, settings, warn)
    if settings.chat is not None and "chat_template.jinja" not in files:
        if read_object(folder / "tokenizer_config.json").get("chat_template") is None:
            files["chat_template.jinja"] = settings.chat.encode()
    return files


def _own_engine(folder: Path) -> dict[str, bytes]:
    """Return the files of a tokenizer that has its own engine in the runtime, under the names of its format."""
    if all((folder / name).is_file() for name in _TWO_VOCABULARIES):
        return {name: read_bytes(folder / name, _MAX_MODEL_BYTES) for name in _TWO_VOCABULARIES}
    vocabularies = sorted(folder.glob(_LONGEST_MATCH))
    return {"rwkv_vocab.txt": read_bytes(vocabularies[-1], _MAX_MODEL_BYTES)} if vocabularies else {}


def _converted(folder: Path, settings: TextSettings, warn: Callable[[str], None]) -> dict[str, bytes]:
    """Return tokenizer.json of the folder's vocabulary, and special_tokens_map.json if the folder names none."""
    converted = find_definition(folder, settings)
    if isinstance(converted, str):
        warn(f"{folder}: {converted}; the plan takes token ids alone, without text and chat (see --tokenizer)")
        return {}
    definition, place = converted
    add_special(definition, folder, settings)
    begin, end = surroundings(definition, folder, settings, place)
    files = {"tokenizer.json": serialize(definition, begin, end, place)}
    if definition.roles and not read_roles(folder):
        files["special_tokens_map.json"] = json.dumps(definition.roles, ensure_ascii=False).encode()
    return files


def find_definition(folder: Path, settings: TextSettings) -> tuple[Definition, str] | str:
    """Return the tokenizer of a folder without tokenizer.json, with its file, or the reason why there is none."""
    config = read_object(folder / "tokenizer_config.json")
    for name in MODEL_NAMES:
        path = folder / name
        if path.is_file():
            data = read_bytes(path, _MAX_MODEL_BYTES)
            if not ranks.is_ranks(data):
                return sentencepiece.from_bytes(data, str(path)), str(path)
            return _ranks(path, data, settings)
    if (folder / "tekken.json").is_file():
        return from_tekken(folder / "tekken.json"), str(folder / "tekken.json")
    tiktoken = sorted(folder.glob("*.tiktoken"))
    if tiktoken:
        return _ranks(tiktoken[0], read_bytes(tiktoken[0], ranks.MAX_BYTES), settings)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return vocabulary.from_merges(folder, settings.pattern, config), str(folder / "vocab.json")
    if (folder / "vocab.txt").is_file():
        return vocabulary.from_words(folder / "vocab.txt", config), str(folder / "vocab.txt")
    return _report(folder)


def _ranks(path: Path, data: bytes, settings: TextSettings) -> tuple[Definition, str] | str:
    """Return the tokenizer of tiktoken's ranks, whose split pattern is in the settings."""
    if settings.pattern is None:
        return f"no tokenizer: {path.name} has tiktoken's ranks without their split pattern; set text.pattern"
    definition = ranks.from_ranks(ranks.parse_ranks(data, str(path)), settings.pattern, str(path))
    if settings.normalize == "nfc":
        definition.normalizers = [{"type": "NFC"}]
    return definition, str(path)


def _report(folder: Path) -> str:
    """Return a sentence with the tokenizer files that are there and are not supported."""
    names = sorted({path.name for pattern in _KNOWN for path in folder.glob(pattern) if path.is_file()})
    return f"no tokenizer: {', '.join(names)} alone is not supported" if names else "no tokenizer file found"
