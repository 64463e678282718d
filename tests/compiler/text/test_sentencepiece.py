"""Sentencepiece models against the library: the ids of every string, and damaged model files."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mistral_common
import pytest
import sentencepiece

from archc.compiler.errors import BuildError
from archc.compiler.text.sentencepiece.conversion import from_bytes
from tests.compiler.text.compare import differences, encoder
from tests.compiler.text.strings import mixture

_DATA = Path(mistral_common.__file__).parent / "data"
_SYMBOLS = ["<sep>", "[CLS]", "<|im_start|>", "==", "\u2581\u2581", "\u00bd", "ﬁ"]
MODELS: dict[str, dict[str, Any]] = {
    "unigram": {"model_type": "unigram", "control_symbols": ["[MASK]"]},
    "unigram-bytes": {"model_type": "unigram", "byte_fallback": True, "vocab_size": 900},
    "unigram-identity": {"model_type": "unigram", "normalization_rule_name": "identity", "byte_fallback": True}
    | {"remove_extra_whitespaces": False, "vocab_size": 900},
    "unigram-symbols": {"model_type": "unigram", "user_defined_symbols": _SYMBOLS, "control_symbols": ["<pad>"]},
    "unigram-lowercase": {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc_cf", "bos_id": -1},
    "bpe-bytes": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", "vocab_size": 900},
    "bpe-symbols": {"model_type": "bpe", "user_defined_symbols": _SYMBOLS, "byte_fallback": True, "vocab_size": 900}
    | {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "bpe-no-prefix": {"model_type": "bpe", "user_defined_symbols": _SYMBOLS, "add_dummy_prefix": False}
    | {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "bpe-nfkc": {"model_type": "bpe", "normalization_rule_name": "nfkc", "user_defined_symbols": _SYMBOLS},
    "char": {"model_type": "char", "normalization_rule_name": "identity", "vocab_size": 200},
}


@functools.cache
def trained(name: str) -> bytes:
    """Return the model file of one of MODELS."""
    return train(**MODELS[name])


def train(**options: Any) -> bytes:
    """Return a model file that the library trains on the mixture."""
    writer = io.BytesIO()
    texts = iter([text for text in mixture(seed=1, count=1000) if "\0" not in text])
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=texts,
        model_writer=writer,
        minloglevel=2,
        **{"vocab_size": 500, "character_coverage": 0.99, "hard_vocab_limit": False, "num_threads": 1, **options},
    )
    return writer.getvalue()


@pytest.mark.parametrize("name", MODELS)
def test_ids_of_trained_models(name: str) -> None:
    data = trained(name)
    library = sentencepiece.SentencePieceProcessor(model_proto=data)
    assert not differences(encoder(from_bytes(data, name)), library.encode)


@pytest.mark.parametrize("name", ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"])
def test_ids_of_published_models(name: str) -> None:
    data = (_DATA / name).read_bytes()
    library = sentencepiece.SentencePieceProcessor(model_proto=data)
    assert not differences(encoder(from_bytes(data, name)), library.encode)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        pytest.param(lambda data: data[: len(data) // 2], "exceeds the file", id="cut"),
        pytest.param(lambda data: data.replace(b"<unk>", b"<u\xffk>"), "piece 0: a piece is not UTF-8", id="utf-8"),
        pytest.param(lambda data: b"", "no pieces found", id="empty"),
        pytest.param(lambda data: data + data[:16], "two pieces have the same text", id="twice"),
        pytest.param(lambda data: data + b"\x12\x02\x18\x03", "model type 3 is not supported", id="word"),
        pytest.param(
            lambda data: data + b"\x12\x03\xc0\x01\x01", "whitespace as a suffix is not supported", id="suffix"
        ),
        pytest.param(lambda data: data + b"\x1a\x06\x12\x04\x08\0\0\0", "the character map is damaged", id="map"),
        pytest.param(lambda data: data + b"\x0b", "wire type 3 at byte", id="group"),
    ],
)
def test_refused_models(edit: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        from_bytes(edit(trained("bpe-bytes")), "x.model")
