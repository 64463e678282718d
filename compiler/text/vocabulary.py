"""vocab.json with merges.txt, a byte-level or an end-of-word BPE; vocab.txt, a WordPiece vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archc.compiler.errors import BuildError
from archc.compiler.text.byte_spellings import ADVICE, spelled_merges, spelled_vocabulary
from archc.compiler.text.definition import Definition, Part, byte_level, replace, split
from archc.compiler.text.files import read_object, read_text

_END_OF_WORD = "</w>"
_UNKNOWN = {"unk_token": "<unk>"}


def read_merges(path: Path) -> list[tuple[str, str]]:
    """Return the pairs of merges.txt in order; a first line `#version` is a comment."""
    lines = read_text(path).split("\n")
    if lines and lines[0].startswith("#version"):
        lines = lines[1:]
    pairs: list[tuple[str, str]] = []
    for line in lines:
        line = line.rstrip("\r")
        if not line:
            continue
        left, _, right = line.partition(" ")
        if not left or not right or " " in right:
            raise BuildError(f"{path}: expected two tokens in a line, got {line!r:.60}; download it again")
        pairs.append((left, right))
    return pairs


def merges_file(folder: Path) -> Path | None:
    """Return merges.txt of a folder, or merges.json without it, or None."""
    return next((folder / name for name in ("merges.txt", "merges.json") if (folder / name).is_file()), None)


def byte_level_bpe(
    vocab: dict[str, int], merges: list[tuple[str, str]], pattern: str | None, place: str, **options: Any
) -> Definition:
    """Return a byte-level BPE, split by `pattern` or by GPT-2's if that is None."""
    for left, right in merges:
        for token in (left, right, left + right):
            if token not in vocab:
                raise BuildError(
                    f"{place}: the merge {left!r:.40} {right!r:.40} has no token {token!r:.60}; download both again"
                )
    model: Part = {"type": "BPE", "vocab": vocab, "merges": [list(pair) for pair in merges], **options}
    parts = [byte_level(regex=True)] if pattern is None else [split(pattern), byte_level()]
    decoder = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    return Definition(model, pre_tokenizers=parts, decoders=[decoder], byte_level=True)


def from_merges(folder: Path, pattern: str | None, config: Mapping[str, Any]) -> Definition:
    """Return the tokenizer of vocab.json and merges.txt or merges.json, with bytes in any spelling."""
    stored = read_object(folder / "vocab.json")
    vocab = spelled_vocabulary(stored, str(folder / "vocab.json"))
    path = merges_file(folder) or folder / "merges.txt"
    place = str(path)
    merges = spelled_merges(path, vocab)
    if merges is None and (path.suffix == ".json" or vocab != stored):
        raise BuildError(f"{path}: expected a pair of tokens of vocab.json in each row; {ADVICE}")
    merges = read_merges(path) if merges is None else merges
    if _END_OF_WORD not in "".join(right for _, right in merges[:100]):
        definition = byte_level_bpe(vocab, merges, pattern, place)
        if config.get("add_prefix_space") is True:
            definition.pre_tokenizers[0 if pattern is None else -1]["add_prefix_space"] = True
        return definition
    definition = byte_level_bpe(vocab, merges, None, place, end_of_word_suffix=_END_OF_WORD, **_UNKNOWN)
    definition.byte_level = False
    definition.normalizers = [_bert_normalizer(lowercase=True, chinese=True, accents=None)]
    definition.pre_tokenizers = [{"type": "BertPreTokenizer"}]
    definition.decoders = [{"type": "BPEDecoder", "suffix": _END_OF_WORD}]
    return definition


def from_words(path: Path, config: Mapping[str, Any]) -> Definition:
    """Return the WordPiece tokenizer of vocab.txt, one token per line."""
    lines = read_text(path).split("\n")
    if lines and not lines[-1]:
        lines.pop()
    tokens = [line.rstrip("\r") for line in lines]
    vocab = {token: index for index, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        raise BuildError(f"{path}: two lines have the same token; download it again")
    return word_piece(vocab, config, str(path))


def word_piece(vocab: dict[str, int], config: Mapping[str, Any], place: str) -> Definition:
    """Return a WordPiece tokenizer with `##` before the continuation of a word."""
    unknown = _name(config.get("unk_token"), "[UNK]")
    if unknown not in vocab:
        raise BuildError(f"{place}: the unknown token {unknown!r:.60} not found; download it again")
    model = {
        "type": "WordPiece",
        "vocab": vocab,
        "unk_token": unknown,
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
    }
    normalizer = _bert_normalizer(
        lowercase=config.get("do_lower_case", True) is not False,
        chinese=config.get("tokenize_chinese_chars", True) is not False,
        accents=config.get("strip_accents"),
    )
    defaults = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
    names = {f"{role}_token": _name(config.get(f"{role}_token"), token) for role, token in defaults.items()}
    return Definition(
        model,
        normalizers=_lowercase(normalizer),
        pre_tokenizers=[{"type": "BertPreTokenizer"}],
        decoders=[{"type": "WordPiece", "prefix": "##", "cleanup": True}],
        roles={role: token for role, token in names.items() if token in vocab},
        begin=("cls_token",),
        end=("sep_token",),
    )


def _bert_normalizer(lowercase: bool, chinese: bool, accents: object) -> Part:
    return {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": chinese,
        "strip_accents": accents if isinstance(accents, bool) else None,
        "lowercase": lowercase,
    }


def _lowercase(normalizer: Part) -> list[Part]:
    """Return the normalizers with the lower case of a sigma at the end of a word (Unicode, Final_Sigma).

    The library's lower case is that of single characters. Control characters are removed before.
    """
    if not normalizer["lowercase"]:
        return [normalizer]
    clean = {**normalizer, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    sigma = r"\p{Cased}\p{Case_Ignorable}*\K\x{3a3}(?!\p{Case_Ignorable}*\p{Cased})"
    return [clean, replace(sigma, "\u03c2", regex=True), {**normalizer, "clean_text": False}]


def _name(token: object, default: str) -> str:
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else default
