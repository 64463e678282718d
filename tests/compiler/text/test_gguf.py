"""Vocabularies of GGUF files, written with the package gguf, against the genuine libraries; damaged headers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, pre_tokenizers

from archc.compiler.errors import BuildError
from archc.compiler.text.convert import convert
from archc.compiler.text.gguf import from_keys, read_keys
from archc.compiler.text.gguf_splits import SPLITS
from archc.compiler.text.settings import TextSettings
from archc.compiler.text.vocabulary import from_merges, from_words
from tests.compiler.mutation import mutated, refusal
from tests.compiler.text.compare import differences, encoder
from tests.compiler.text.strings import mixture
from tests.compiler.text.test_sentencepiece import trained

_PLAIN = TextSettings()


def write(path: Path, fill: Callable[[gguf.GGUFWriter], None]) -> Path:
    """Write a file without tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def pieces(name: str, **keys: bool) -> Callable[[gguf.GGUFWriter], None]:
    """Return what writes a trained model of sentencepiece."""
    proto: Any = sentencepiece_model_pb2.ModelProto.FromString(trained(name))  # type: ignore[attr-defined]

    def fill(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("t5" if name.startswith("unigram") else "llama")
        writer.add_token_list([piece.piece for piece in proto.pieces])
        writer.add_token_scores([piece.score for piece in proto.pieces])
        writer.add_token_types([piece.type for piece in proto.pieces])
        writer.add_add_space_prefix(proto.normalizer_spec.add_dummy_prefix)
        writer.add_remove_extra_whitespaces(proto.normalizer_spec.remove_extra_whitespaces)
        if proto.normalizer_spec.precompiled_charsmap:
            writer.add_precompiled_charsmap(proto.normalizer_spec.precompiled_charsmap)
        writer.add_bos_token_id(1)
        for key, value in keys.items():
            writer.add_bool(f"tokenizer.ggml.{key}", value)

    return fill


@pytest.mark.parametrize("name", ["unigram", "bpe-symbols", "bpe-no-prefix"])
def test_ids_of_sentencepiece(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "x.gguf", pieces(name))
    library = sentencepiece.SentencePieceProcessor(model_proto=trained(name))
    definition = from_keys(read_keys(path), _PLAIN, "x.gguf")
    assert not isinstance(definition, str)
    assert not differences(encoder(definition), library.encode)


def test_ids_of_merges(byte_level: Path) -> None:
    vocab = json.loads((byte_level / "vocab.json").read_text())

    def fill(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(sorted(vocab, key=vocab.__getitem__))
        writer.add_token_merges((byte_level / "merges.txt").read_text().split("\n")[1:-1])

    definition = from_keys(read_keys(write(byte_level / "x.gguf", fill)), _PLAIN, "x.gguf")
    assert not isinstance(definition, str)
    assert not differences(encoder(definition), encoder(from_merges(byte_level, None, {})))


def test_ids_of_words(words: Path) -> None:
    tokens = words.read_text().split("\n")[:-1]
    marked = [_marked(token) for token in tokens]

    def fill(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("bert")
        writer.add_token_list(marked)
        writer.add_token_types([3 if token in marked else 1 for token in tokens])

    definition = from_keys(read_keys(write(words.parent / "x.gguf", fill)), _PLAIN, "x.gguf")
    assert not isinstance(definition, str)
    # The mark itself inside a word is ambiguous in the format.
    texts = [text for text in mixture() if "\u2581" not in text]
    assert not differences(encoder(definition), encoder(from_words(words, {})), texts)


def _marked(token: str) -> str:
    """Return a token with the start of a word marked, in place of a continuation; special tokens as they are."""
    if token.startswith("[") and len(token) > 3:
        return token
    return token[2:] if token.startswith("##") and len(token) > 2 else f"\u2581{token}"


# Names in llama.cpp's llama-vocab.cpp without a pattern here, because their splits or vocabularies are of another kind.
_OTHER = {"gemma4", "granite-embed-multi-311m", "sarvam-moe", "whitespace", "superbpe", "afmoe"}


@pytest.mark.parametrize("name", sorted(SPLITS))
def test_patterns_keep_every_text(name: str) -> None:
    assert name not in _OTHER
    sequence = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(each), "isolated") for each in SPLITS[name]])
    for text in mixture():
        assert "".join(piece for piece, _ in sequence.pre_tokenize_str(text)) == text


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        pytest.param("gpt-2", "it's 1234", ["it", "'s", " 1234"], id="gpt-2"),
        pytest.param("llama-bpe", "IT'S 12345", ["IT", "'S", " ", "123", "45"], id="llama-bpe"),
        pytest.param("qwen2", "a 12\n\nb", ["a", " ", "1", "2", "\n\n", "b"], id="qwen2"),
        pytest.param("deepseek-v3", "a=テスト12345", ["a", "=", "テスト", "123", "45"], id="deepseek-v3"),
        pytest.param("deepseek-coder", "x12 yz\n", ["x", "1", "2", " yz", "\n"], id="deepseek-coder"),
        pytest.param("kimi-k2", "日本foo中Bar", ["日本", "foo", "中", "Bar"], id="kimi-k2"),
        pytest.param("bloom", "one, two", ["one", ",", " two"], id="bloom"),
        pytest.param("jais-2", "a     b", ["a", "    ", " b"], id="jais-2"),
        pytest.param("spark2_5", "a !\n\n12", ["a", " !", "\n", "\n", "1", "2"], id="spark2_5"),
        pytest.param("ufakzeka", "Ali'den 12", ["Ali", "'den", " ", "1", "2"], id="ufakzeka"),
        pytest.param("chameleon", "a    b++12", ["a", "    ", "b", "+", "+", "1", "2"], id="chameleon"),
        pytest.param("tiny_aya", "1234567", ["1", "234", "567"], id="tiny_aya"),
    ],
)
def test_pieces_of_patterns(name: str, text: str, expected: list[str]) -> None:
    sequence = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(each), "isolated") for each in SPLITS[name]])
    assert [piece for piece, _ in sequence.pre_tokenize_str(text)] == expected


@pytest.mark.parametrize(("pre", "whole"), [("llama-bpe", True), ("qwen2", False)])
def test_merges_that_are_ignored(pre: str, whole: bool) -> None:
    keys = {"model": "gpt2", "pre": pre, "tokens": ["a", "b", "ab", "<s>"], "token_type": [1, 1, 1, 3], "merges": []}
    definition = from_keys({**keys, "bos_token_id": 3}, _PLAIN, "x.gguf")
    assert not isinstance(definition, str)
    assert encoder(definition)("ab") == ([2] if whole else [0, 1])
    assert definition.begin == (("bos_token",) if whole else ())


def test_bos_and_chat_template(tmp_path: Path) -> None:
    def fill(writer: gguf.GGUFWriter) -> None:
        pieces("bpe-bytes", add_bos_token=False)(writer)
        writer.add_chat_template("{{ messages }}")

    path = write(tmp_path / "x.gguf", fill)
    files = convert(path, _PLAIN, print)
    assert files["chat_template.jinja"] == b"{{ messages }}"
    assert json.loads(files["special_tokens_map.json"]) == {"bos_token": "<s>"}
    assert json.loads(files["tokenizer.json"])["post_processor"] is None
    assert convert(tmp_path, _PLAIN, print) == files
    open_file = write(tmp_path / "y.gguf", pieces("bpe-bytes"))
    post = json.loads(convert(open_file, _PLAIN, print)["tokenizer.json"])["post_processor"]
    assert list(post["special_tokens"]) == ["<s>"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        pytest.param({}, "the GGUF file has no vocabulary", id="none"),
        pytest.param(
            {"model": "gpt2", "pre": "new"},
            "the split pattern 'new' (tokenizer.ggml.pre) is not supported; name the tokenizer.json",
            id="pre",
        ),
        pytest.param({"model": "rwkv"}, "the vocabulary 'rwkv'", id="model"),
    ],
)
def test_unsupported_vocabularies(keys: dict[str, Any], message: str) -> None:
    tokens = {"tokens": ["a"]} if keys else {}
    assert str(from_keys({**keys, **tokens}, _PLAIN, "x.gguf")).startswith(message)


def test_damaged_headers_are_refused_or_read(tmp_path: Path) -> None:
    path, draw = write(tmp_path / "x.gguf", pieces("bpe-symbols")), random.Random(0)
    data = path.read_bytes()

    def read() -> None:
        path.write_bytes(mutated(data, draw))
        definition = from_keys(read_keys(path), _PLAIN, str(path))
        if not isinstance(definition, str):
            encoder(definition)("Hello, world")

    messages = [refusal(read) for _ in range(200)]
    assert all(message is None or message.startswith((str(path), "test")) for message in messages)
    assert len(set(messages)) > 5
    path.write_bytes(b"GGUF")
    with pytest.raises(BuildError, match="the GGUF header is damaged"):
        read_keys(path)
