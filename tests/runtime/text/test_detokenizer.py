"""Incremental detokenization: whole characters, and the text of all ids in the end."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from archc.runtime.text.detokenizer import Detokenizer

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
