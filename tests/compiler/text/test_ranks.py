"""Byte-level BPE by ranks against tiktoken and mistral_common, and damaged files."""

from __future__ import annotations

import base64
import functools
import json
from pathlib import Path
from typing import Any

import mistral_common
import pytest
import tiktoken
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from archc.compiler.errors import BuildError
from archc.compiler.text.ranks import from_ranks, is_ranks, parse_ranks
from archc.compiler.text.tekken import from_tekken
from tests.compiler.text.compare import differences, encoder

_TEKKEN = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
_SIZE = 20_000
PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "three-digits": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+",
}


@functools.cache
def tekken() -> dict[str, Any]:
    file: dict[str, Any] = json.loads(_TEKKEN.read_bytes())
    return file


def ranks_file(count: int) -> bytes:
    """Return the first `count` tokens of a published vocabulary as a file of tiktoken."""
    return "".join(f"{token['token_bytes']} {token['rank']}\n" for token in tekken()["vocab"][:count]).encode()


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_ids_of_ranks(pattern: str) -> None:
    ranks = parse_ranks(ranks_file(_SIZE), "x.tiktoken")
    library = tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    assert not differences(encoder(from_ranks(ranks, pattern, "x.tiktoken")), library.encode_ordinary)


def test_a_token_of_later_parts_and_one_of_no_parts() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"abc": 256, b"bc": 257, b"xyz": 258}
    library = tiktoken.Encoding("x", pat_str=PATTERNS["gpt2"], mergeable_ranks=ranks, special_tokens={})
    encode = encoder(from_ranks(ranks, PATTERNS["gpt2"], "x"))
    assert encode("abc") == library.encode_ordinary("abc") == [256]
    assert encode("abcd") == library.encode_ordinary("abcd") == [256, 100]
    assert encode("xyz") == library.encode_ordinary("xyz") == [258]
    assert encode("wxyz") == library.encode_ordinary("wxyz") == [*b"wxyz"]


def test_ids_of_tekken(tmp_path: Path) -> None:
    file = {**tekken(), "config": {**tekken()["config"], "default_vocab_size": _SIZE + 1000}}
    (tmp_path / "tekken.json").write_text(json.dumps(file))
    library = Tekkenizer.from_file(tmp_path / "tekken.json")
    definition = from_tekken(file, "tekken.json")
    assert not differences(encoder(definition), lambda text: library.encode(text, bos=False, eos=False))
    names = {token.id: token.content for token in definition.added}
    assert names == {index: library.id_to_piece(index) for index in range(1000)}


def test_the_first_line_tells_ranks_from_a_sentencepiece_model() -> None:
    assert all(map(is_ranks, (ranks_file(1), b"IQ== 0\n")))
    assert not any(map(is_ranks, (b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02", b"", b"[PAD]\n[CLS]\n")))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"IQ== 0\nIg=\n", "line 2: expected base64 and a rank", id="base64"),
        pytest.param(b"IQ== 0\nIQ== 1\n", "line 2: .* twice", id="twice"),
        pytest.param(b"IQ== 0\nIg== 0\n", "two tokens have the same rank", id="rank"),
        pytest.param(b"IQ== 0\n", "the byte 0 is not a token", id="byte"),
    ],
)
def test_refused_ranks(data: bytes, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        from_ranks(parse_ranks(data, "x"), PATTERNS["gpt2"], "x")


def test_tokens_too_long_to_merge_are_refused() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"a" * 20_000: 256}
    with pytest.raises(BuildError, match="the tokens are too long"):
        from_ranks(ranks, PATTERNS["gpt2"], "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"config": None}, "expected the keys 'config' and 'vocab'", id="config"),
        pytest.param({"config": {"pattern": 1}}, "expected a pattern and numbers", id="pattern"),
        pytest.param({"vocab": [{"token_bytes": "?"}]}, "token 0: expected distinct base64", id="vocab"),
        pytest.param({"special_tokens": [{"rank": 0}]}, "special_tokens: expected ranks and names", id="special"),
    ],
)
def test_refused_tekken(change: dict[str, Any], message: str) -> None:
    small = {**tekken(), "vocab": tekken()["vocab"][:256]}
    with pytest.raises(BuildError, match=message):
        from_tekken({**small, **change}, "tekken.json")


def test_base64_of_the_file() -> None:
    assert parse_ranks(base64.b64encode(b" a") + b" 7\n", "x") == {b" a": 7}
