"""vocab.json with merges.txt against tiktoken, vocab.txt against BERT's tokenizer in Python, and damaged files."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
import tiktoken
from transformers.models.bert.tokenization_bert_legacy import BasicTokenizer, WordpieceTokenizer

from archc.compiler.errors import BuildError
from archc.compiler.text.definition import printable_bytes
from archc.compiler.text.vocabulary import from_merges, from_words
from tests.compiler.text.compare import differences, encoder
from tests.compiler.text.strings import mixture
from tests.compiler.text.test_ranks import PATTERNS


@pytest.mark.parametrize("name", PATTERNS)
def test_ids_of_vocab_and_merges(byte_level: Path, name: str) -> None:
    to_byte = {char: byte for byte, char in enumerate(printable_bytes())}
    vocab = json.loads((byte_level / "vocab.json").read_text())
    ranks = {bytes([to_byte[char] for char in token]): index for token, index in vocab.items()}
    library = tiktoken.Encoding("x", pat_str=PATTERNS[name], mergeable_ranks=ranks, special_tokens={})
    definition = from_merges(byte_level, None if name == "gpt2" else PATTERNS[name], {})
    assert not differences(encoder(definition), library.encode_ordinary)


@pytest.mark.parametrize("lower", [True, False], ids=["lowercase", "cased"])
def test_ids_of_words(words: Path, lower: bool) -> None:
    vocab = {line: index for index, line in enumerate(words.read_text().split("\n")[:-1])}
    basic, pieces = BasicTokenizer(do_lower_case=lower), WordpieceTokenizer(vocab, "[UNK]")

    def library(text: str) -> list[int]:
        return [vocab[piece] for word in basic.tokenize(text) for piece in pieces.tokenize(word)]

    # The tokenizer in Python composes characters first, which that of BERT's authors does not.
    texts = mixture() if lower else [unicodedata.normalize("NFC", text) for text in mixture()]
    assert not differences(encoder(from_words(words, {"do_lower_case": lower})), library, texts)


def test_end_of_word_suffix(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"<unk>": 0, "l": 1, "o": 2, "w</w>": 3, "lo": 4, "low</w>": 5}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nl o\nlo w</w>\n")
    assert encoder(from_merges(tmp_path, None, {}))("Low low") == [5, 5]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("vocab.json", "{", r"vocab\.json: not JSON", id="json"),
        pytest.param("vocab.json", '{"a": "0"}', "token 'a': expected an id", id="id"),
        pytest.param("vocab.json", '{"a": 0, "b": 0}', "two tokens have the same id", id="same-id"),
        pytest.param("merges.txt", "a b\nabc\n", "expected two tokens in a line, got 'abc'", id="line"),
        pytest.param("merges.txt", "zz zz\n", "the merge 'zz' 'zz' has no token", id="token"),
        pytest.param("vocab.txt", "a\na\n", "two lines have the same token", id="lines"),
        pytest.param("vocab.txt", "a\nb\n", r"the unknown token '\[UNK\]' not found", id="unknown"),
    ],
)
def test_refused_vocabularies(byte_level: Path, name: str, text: str, message: str) -> None:
    (byte_level / name).write_text(text)
    with pytest.raises(BuildError, match=message):
        from_words(byte_level / name, {}) if name == "vocab.txt" else from_merges(byte_level, None, {})
