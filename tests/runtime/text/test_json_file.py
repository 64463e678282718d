"""The engine of tokenizer.json: special tokens at chosen places of a text."""

from __future__ import annotations

import re

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, pre_tokenizers

from archc.runtime.text.json_file import JsonTokenizer
from tests.runtime.text.tokenizers_of_tests import SPECIAL, sentencepiece_like, words
from tests.runtime.tiny import bytes_tokenizer


def with_flags() -> tokenizers.Tokenizer:
    """Return a tokenizer whose special tokens include the spaces next to them."""
    tokenizer = bytes_tokenizer()
    tokenizer.add_special_tokens(
        [
            AddedToken("<s>", lstrip=True, special=True),
            AddedToken("</s>", rstrip=True, special=True),
            AddedToken("<think>", single_word=True, special=True),
        ]
    )
    return tokenizer


def first_prefix() -> tokenizers.Tokenizer:
    """Return a tokenizer that puts a space before the first word alone."""
    tokenizer = sentencepiece_like()
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    return tokenizer


BUILDERS = {
    "like SentencePiece": sentencepiece_like,
    "a prefix at first": first_prefix,
    "spaces in tokens": with_flags,
    "words": words,
}


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
@settings(max_examples=150, deadline=None)
@given(parts=st.lists(st.sampled_from(["the", "cat", " ", "\n", "a", "[SEP]", *SPECIAL]), max_size=9))
def test_special_tokens_at_all_of_their_places_or_none_are_those_of_encode(build, parts):
    engine = JsonTokenizer(build().to_str().encode())
    text = "".join(parts)
    pattern = "|".join(map(re.escape, sorted(engine.special, key=len, reverse=True)))
    spans = [match.span() for match in re.finditer(pattern, text)]
    if "<think>" not in parts or build is not with_flags:  # not a token inside of a word
        assert engine.encode_marked(text, spans) == engine.encode(text, False, parse_special=True)
    assert engine.encode_marked(text, []) == engine.encode(text, False, parse_special=False)


def test_some_places_are_tokens_and_the_others_text():
    engine = JsonTokenizer(sentencepiece_like().to_str().encode())
    start = engine.special["<s>"]
    text = "<s>the <s> cat<s>"
    marked = engine.encode_marked(text, [(0, 3), (14, 17)])
    assert marked == [start, *engine.encode("the <s> cat", False, parse_special=False), start]


def test_text_with_the_characters_of_the_marks_is_encoded():
    engine = JsonTokenizer(sentencepiece_like().to_str().encode())
    text = "\U0002a0000\U0002a000<s>"
    marked = engine.encode_marked(text, [(3, 6)])
    assert marked == engine.encode(text, False, parse_special=True)
