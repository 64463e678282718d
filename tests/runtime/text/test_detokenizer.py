"""Incremental detokenization: whole characters, and the text of all ids in the end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archc.runtime.text.detokenizer import Detokenizer
from archc.runtime.text.json_file import JsonTokenizer
from archc.runtime.text.tokenizer import Tokenizer
from tests.runtime.text.tokenizers_of_tests import sentencepiece_like, words
from tests.runtime.tiny import bytes_tokenizer

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(texts)
def test_streamed_text_is_the_decoded_text_and_never_half_a_character(decoder, text):
    ids = decoder.tokenizer.encode(text)
    stream = decoder.tokenizer.stream()
    pieces = [stream.push(token) for token in ids]
    if "\ufffd" not in text:
        assert "\ufffd" not in "".join(pieces)
    assert "".join([*pieces, stream.flush()]) == text


@settings(max_examples=60)
@given(st.lists(st.integers(0, 263), max_size=60))
def test_any_ids_stream_to_the_characters_of_the_decoded_text(decoder, ids):
    stream = decoder.tokenizer.stream()
    text = "".join([*(stream.push(token) for token in ids), stream.flush()])
    whole = decoder.tokenizer.decode(ids)
    assert [char for char in text if char != "\ufffd"] == [char for char in whole if char != "\ufffd"]


def test_bytes_that_never_become_a_character_are_not_held_back_for_long():
    stream = Detokenizer(lambda ids: "\ufffd" * len(ids))
    pieces = [stream.push(0) for _ in range(40)]
    assert pieces[:15] == [""] * 15
    assert len("".join(pieces)) >= 32


def test_tokens_without_text_are_not_decoded_again_without_bound():
    longest = 0

    def decode(ids):
        nonlocal longest
        longest = max(longest, len(ids))
        return ""

    stream = Detokenizer(decode)
    for token in range(1000):
        assert stream.push(token) == ""
    assert longest < 100


TOKENIZERS = {"like SentencePiece": sentencepiece_like, "words": words, "bytes": bytes_tokenizer}


def tokenizer_of(build) -> Tokenizer:
    return Tokenizer(JsonTokenizer(build().to_str().encode()), {}, None)


def streamed(tokenizer, prompt, new, **options):
    stream = tokenizer.stream(prompt, **options)
    return "".join([*map(stream.push, new), stream.flush()])


CONTINUED = {
    "a word after a word": ("the cat", " sat on", " sat on"),
    "the rest of a word": ("the ca", "t", "t"),
    "text after a space": ("the ", "cat", "cat"),
    "text after a line": ("the\n", "cat", "cat"),
    "a character after a character": ("né", "à", "à"),
    "after an invalid character": ("a\ufffd", " sat", " sat"),
    "a first word": ("", "the", "the"),
}


@pytest.mark.parametrize(("prompt", "new", "expected"), CONTINUED.values(), ids=CONTINUED)
def test_the_space_before_the_first_new_word_is_text(prompt, new, expected):
    tokenizer = tokenizer_of(sentencepiece_like)
    prompt_ids, both = tokenizer.encode(prompt), tokenizer.encode(prompt + new)
    ids = both[len(prompt_ids) :] if both[: len(prompt_ids)] == prompt_ids else tokenizer.encode("a" + new)[2:]
    assert streamed(tokenizer, prompt_ids, ids) == expected
    assert streamed(tokenizer, [*tokenizer.encode("on " * 500), *prompt_ids], ids) == expected or not prompt


@pytest.mark.parametrize("build", TOKENIZERS.values(), ids=TOKENIZERS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_pieces_join_to_the_text_of_both_without_that_of_the_prompt(build, data):
    tokenizer = tokenizer_of(build)
    texts = st.text("thecasond'. \n!é", max_size=30)
    tails = st.lists(st.sampled_from(sorted(tokenizer._engine.special.values())), max_size=2)
    prompt = [*tokenizer.encode(data.draw(texts)), *data.draw(tails)]
    new = tokenizer.encode(data.draw(texts), add_special_tokens=False)
    for skip in (True, False):
        before, both = (tokenizer.decode(ids, skip_special_tokens=skip) for ids in (prompt, prompt + new))
        assert streamed(tokenizer, prompt, new, show_special=not skip) == both[len(before) :]


def test_a_character_that_the_prompt_begins_is_text_of_the_answer(decoder):
    tokenizer = tokenizer_of(bytes_tokenizer)
    first, *rest = tokenizer.encode("한")
    assert streamed(tokenizer, [*tokenizer.encode("a"), first], [*rest, *tokenizer.encode("b")]) == "한b"


def test_a_long_run_of_special_tokens_does_not_swallow_the_next_space():
    tokenizer = tokenizer_of(sentencepiece_like)
    cat, sat = tokenizer.encode("the cat"), tokenizer.encode("the sat")[1:]
    special = tokenizer._engine.special["<think>"]
    assert streamed(tokenizer, [], [*cat, *[special] * 200, *sat]) == "the cat sat"
    assert streamed(tokenizer, [*cat, *[special] * 200], sat) == " sat"


def test_special_tokens_are_shown_on_request():
    tokenizer = tokenizer_of(sentencepiece_like)
    ids = tokenizer.encode("the<think>cat</think>", parse_special=True)
    assert streamed(tokenizer, [], ids, show_special=True) == tokenizer.decode(ids, skip_special_tokens=False)
    assert "<think>" in streamed(tokenizer, [], ids, show_special=True)
    assert "<think>" not in streamed(tokenizer, [], ids)


def test_runs_of_spaces_keep_their_length_where_a_decoder_strips_them():
    words = ["a", " ", "b"]
    stream = Detokenizer(lambda ids: "".join(words[index] for index in ids).lstrip(" "))
    ids = [0, 1, 1, 1, 2, 1, 2]
    assert "".join([*map(stream.push, ids), stream.flush()]) == "a   b b"
    longest = 0

    def decode(ids):
        nonlocal longest
        longest = max(longest, len(ids))
        return " " * len(ids)

    stream = Detokenizer(decode)
    assert "".join(stream.push(0) for _ in range(1000)) == " " * 1000
    assert longest < 200
