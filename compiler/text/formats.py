"""Formats of tokenizer files: the file of a folder that has its vocabulary, and the reader of each format."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from archc.compiler.text import gguf, ranks, vocabulary
from archc.compiler.text.definition import Definition, serialize
from archc.compiler.text.files import read_bytes, read_object
from archc.compiler.text.sentencepiece.conversion import from_bytes
from archc.compiler.text.settings import TextSettings
from archc.compiler.text.tekken import from_tekken

MAX_MODEL_BYTES = 64 * 2**20
_TWO_VOCABULARIES = ("source.spm", "target.spm", "vocab.json")
_LONGEST_MATCH = "rwkv_vocab*.txt"
# Names in the order of preference. tokenizer.model is a sentencepiece model, or tiktoken's ranks.
_NAMES = (
    *("tokenizer.json", "source.spm", _LONGEST_MATCH, "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
    *("ice_text.model", "tekken.json", "*.tiktoken", "tokenizer.model.v*", "vocab.json", "vocab.txt", "*.gguf"),
)
_SIMILAR = ("*.model*", "*.spm", "*vocab*", "*merges*", "*.bpe", "*tokenizer*", "tekken*")
_NO_VOCABULARY = ("tokenizer_config.json", "tokenization_*.py", "*tokenizer*.py")


def find_file(folder: Path) -> Path | str:
    """Return the file of a folder that has its vocabulary, or the reason why there is none."""
    for name in _NAMES:
        for path in sorted(folder.glob(name), reverse=True):
            if path.is_file() and all((folder / other).is_file() for other in _others(path)):
                return path
    similar = {path.name for name in _SIMILAR for path in folder.glob(name) if path.is_file()}
    similar = {name for name in similar if not any(fnmatch.fnmatch(name, known) for known in _NO_VOCABULARY)}
    if similar:
        return f"no tokenizer: {', '.join(sorted(similar))} alone is not supported"
    return "no tokenizer file found"


def _others(path: Path) -> tuple[str, ...]:
    """Return the files that a vocabulary needs next to it."""
    if path.name in _TWO_VOCABULARIES[:2]:
        return _TWO_VOCABULARIES
    if path.name != "vocab.json":
        return ()
    merges = vocabulary.merges_file(path.parent)
    return (merges.name if merges is not None else "merges.txt",)


def own_engine(path: Path) -> dict[str, bytes]:
    """Return the files of a tokenizer with an engine of its own in the runtime by name, none for other formats.

    The segmentations of source and target texts are converted; their pieces have the ids of vocab.json.
    """
    if path.name in _TWO_VOCABULARIES[:2]:
        source, target, table = (path.parent / name for name in _TWO_VOCABULARIES)
        return {
            "tokenizer.json": _segmentation(source),
            "target.json": _segmentation(target),
            "vocab.json": read_bytes(table, MAX_MODEL_BYTES),
        }
    if fnmatch.fnmatch(path.name, _LONGEST_MATCH):
        return {"rwkv_vocab.txt": read_bytes(path, MAX_MODEL_BYTES)}
    return {}


def _segmentation(path: Path) -> bytes:
    """Return a sentencepiece model as tokenizer.json, without tokens around a text."""
    return serialize(from_bytes(read_bytes(path, MAX_MODEL_BYTES), str(path)), (), (), str(path))


def read_definition(path: Path, folder: Path, settings: TextSettings) -> Definition | bytes | str:
    """Return the tokenizer of a file, the bytes of a tokenizer.json, or the reason why it cannot be converted.

    The format is told from the content where a name has several. `folder` has tokenizer_config.json.
    """
    config = read_object(folder / "tokenizer_config.json")
    place = str(path)
    if path.name in ("merges.txt", "merges.json", "vocab.json"):
        if not (path.parent / "vocab.json").is_file() or vocabulary.merges_file(path.parent) is None:
            return "no tokenizer: vocab.json and merges.txt are needed together"
        return vocabulary.from_merges(path.parent, settings.pattern, config)
    if path.suffix == ".json":
        if path.name == "tokenizer.json":
            return read_bytes(path)
        file = read_object(path)
        return read_bytes(path) if "model" in file else from_tekken(file, place)
    if path.suffix == ".gguf":
        return gguf.from_keys(gguf.read_keys(path), settings, place)
    data = read_bytes(path, MAX_MODEL_BYTES)
    if ranks.is_ranks(data):
        return _ranks(data, place, settings)
    if path.suffix == ".txt":
        return vocabulary.from_words(path, config)
    return from_bytes(data, place)


def _ranks(data: bytes, place: str, settings: TextSettings) -> Definition | str:
    """Return the tokenizer of tiktoken's ranks, whose split pattern is in the settings."""
    if settings.pattern is None:
        return "tiktoken's ranks have no split pattern; set text.pattern in the spec"
    definition = ranks.from_ranks(ranks.parse_ranks(data, place), settings.pattern, place)
    if settings.normalize == "nfc":
        definition.normalizers = [{"type": "NFC"}]
    return definition
