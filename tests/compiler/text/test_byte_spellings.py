"""vocab.json and merges whose bytes are spelled in other ways: the same ids as with GPT-2's characters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archc.compiler.errors import BuildError
from archc.compiler.text.convert import convert
from archc.compiler.text.definition import printable_bytes
from archc.compiler.text.settings import TextSettings
from archc.compiler.text.vocabulary import from_merges
from tests.compiler.text.compare import encoder

BYTES = {char: byte for byte, char in enumerate(printable_bytes())}
TEXTS = ("hello world", " 12345\n\n\tx", "日本語 é", "<|endoftext|>", "\x00\xff")
SPELLINGS: dict[str, Callable[[bytes], Any]] = {
    "gpt2": lambda token: "".join(printable_bytes()[byte] for byte in token),
    "latin-1": lambda token: token.decode("latin-1"),
    "hexadecimal": bytes.hex,
    "literals": repr,
    "numbers": list,
}


def to_bytes(token: str) -> bytes:
    return bytes(BYTES[char] for char in token)


@pytest.fixture
def stored(byte_level: Path) -> tuple[dict[str, int], list[list[str]]]:
    """Return ids by token and pairs in GPT-2's characters, with a special token."""
    vocab: dict[str, int] = json.loads((byte_level / "vocab.json").read_text())
    vocab["<|endoftext|>"] = len(vocab)
    merges = [line.split(" ") for line in (byte_level / "merges.txt").read_text().split("\n")[1:] if line]
    return vocab, merges


@pytest.mark.parametrize(
    ("spelling", "by_id"),
    # A list is no key of JSON.
    [(name, by_id) for name in SPELLINGS for by_id in (True, False) if by_id or name != "numbers"],
)
def test_ids_are_those_of_the_characters_of_gpt2(
    byte_level: Path, tmp_path: Path, stored: tuple[dict[str, int], list[list[str]]], spelling: str, by_id: bool
) -> None:
    expected = [encoder(from_merges(byte_level, None, {}))(text) for text in TEXTS]
    vocab, merges = stored
    spell = SPELLINGS[spelling]
    tokens = [(spell(to_bytes(token)), index) for token, index in vocab.items()]
    folder = tmp_path / "respelled"
    folder.mkdir()
    content = {str(index): token for token, index in tokens} if by_id else dict(tokens)
    (folder / "vocab.json").write_text(json.dumps(content))
    (folder / "merges.json").write_text(json.dumps([[spell(to_bytes(token)) for token in pair] for pair in merges]))
    assert [encoder(from_merges(folder, None, {}))(text) for text in TEXTS] == expected
    assert "tokenizer.json" in convert(folder, TextSettings(), pytest.fail)


@pytest.mark.parametrize("spelling", ["gpt2", "hexadecimal", "literals"])
def test_lines_of_merges(byte_level: Path, stored: tuple[dict[str, int], list[list[str]]], spelling: str) -> None:
    expected = [encoder(from_merges(byte_level, None, {}))(text) for text in TEXTS]
    vocab, merges = stored
    spell = SPELLINGS[spelling]
    (byte_level / "vocab.json").write_text(
        json.dumps({index: spell(to_bytes(token)) for token, index in vocab.items()})
    )
    lines = [" ".join(spell(to_bytes(token)) for token in pair) for pair in merges]
    (byte_level / "merges.txt").write_text("\n".join(lines) + "\n")
    assert [encoder(from_merges(byte_level, None, {}))(text) for text in TEXTS] == expected


def test_spaces_and_line_breaks_in_lines_of_characters(tmp_path: Path) -> None:
    tokens = [bytes([byte]) for byte in range(256)] + [b"  ", b"   ", b" t", b"\n\n"]
    (tmp_path / "vocab.json").write_text(
        json.dumps({index: token.decode("latin-1") for index, token in enumerate(tokens)})
    )
    (tmp_path / "merges.txt").write_text("    \n  t\n")
    with pytest.raises(
        BuildError, match=r"merges\.txt: expected a pair of tokens of vocab\.json in each row; write it"
    ):
        from_merges(tmp_path, None, {})  # four spaces are a pair in two ways
    (tmp_path / "merges.txt").write_text("   \n  t\n")
    assert encoder(from_merges(tmp_path, None, {}))("a t") == [97, 258]
    (tmp_path / "merges.txt").write_text("  t\n\n \n\n")
    with pytest.raises(BuildError, match=r"expected a pair of tokens"):
        from_merges(tmp_path, None, {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"0": "a", "1": "é"},
            r"vocab\.json: tokens by id, in no spelling of bytes that has all 256; write it as GPT-2",
        ),
        ({str(byte): bytes([byte]).decode(errors="replace") for byte in range(256)}, "in no spelling of bytes"),
        ({"0": "a", "b": 1}, r"token '0': expected an id, got 'a'"),
    ],
    ids=["few", "utf-8", "mixed"],
)
def test_others_are_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps(content))
    (tmp_path / "merges.txt").write_text("a b\n")
    with pytest.raises(BuildError, match=message):
        from_merges(tmp_path, None, {})


@pytest.mark.parametrize(
    ("content", "message"), [("{", "not JSON"), ("{}", "expected a list of pairs"), ('["a"]', "each row")]
)
def test_damaged_merges_in_json(byte_level: Path, content: str, message: str) -> None:
    (byte_level / "merges.txt").unlink()
    (byte_level / "merges.json").write_text(content)
    with pytest.raises(BuildError, match=message):
        from_merges(byte_level, None, {})
