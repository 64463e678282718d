"""Tokenizer, streaming and stop strings."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archc import runtime
from archc.runtime import PlanError, PromptError
from archc.runtime.generation.generate import Row
from archc.runtime.generation.sampling import Sampler, Sampling
from archc.runtime.generation.streaming import StopMatcher, TextStream

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(texts)
def test_text_comes_back_from_its_ids(decoder, text):
    assert decoder.tokenizer.decode(decoder.tokenizer.encode(text)) == text


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
def test_any_ids_stream_without_an_error_and_without_holding_much_back(decoder, ids):
    stream = decoder.tokenizer.stream()
    text = "".join([*(stream.push(token) for token in ids), stream.flush()])
    whole = decoder.tokenizer.decode(ids)
    assert [char for char in text if char != "\ufffd"] == [char for char in whole if char != "\ufffd"]


def test_tokens_without_text_are_not_decoded_for_ever():
    longest = 0

    def decode(ids):
        nonlocal longest
        longest = max(longest, len(ids))
        return ""

    stream = TextStream(decode)
    for token in range(1000):
        assert stream.push(token) == ""
    assert longest < 100


def test_special_tokens_spelled_in_text_are_text_unless_asked_for(decoder):
    tokenizer = decoder.tokenizer
    text = "a<|end|>b"
    assert 258 not in tokenizer.encode(text)
    assert tokenizer.encode(text, parse_special=True)[1] == 258
    assert 258 not in tokenizer.encode(text)
    assert tokenizer.decode([258, 0]) == tokenizer.decode([0])
    assert tokenizer.decode([258], skip_special_tokens=False) == "<|end|>"


def test_awkward_text_is_encoded_or_explained(decoder):
    tokenizer = decoder.tokenizer
    assert tokenizer.encode("") == []
    assert len(tokenizer.encode("a\0b")) == 3
    assert len(tokenizer.encode("x" * 1_000_000)) == 1_000_000
    with pytest.raises(PromptError, match=r"half of a surrogate pair.*character 1"):
        tokenizer.encode("a\ud800")
    with pytest.raises(PromptError, match="not text"):
        tokenizer.encode(b"bytes")
    with pytest.raises(PromptError, match="negative"):
        tokenizer.decode([-1])
    assert tokenizer.decode([99999]) == ""
    with pytest.raises(PromptError, match="prompt is empty"):
        decoder.stream("")
    with pytest.raises(PromptError, match="takes at most 64"):
        decoder.stream("x" * 1_000_000)


def test_a_damaged_tokenizer_is_a_plan_error(tiny, tmp_path):
    for index, content in enumerate([b"{}", b"\xff", b"", b'{"model": {"type": "BPE"}}']):
        files = {"tokenizer/tokenizer.json": content}
        plan = tiny.write(tmp_path / f"{index}", with_tokenizer=False, extra=files)
        with pytest.raises(PlanError, match=r"tokenizer\.json is damaged"):
            _ = runtime.load(plan, threads=1).tokenizer
    files = {**tiny.tokenizer_files(), "tokenizer/tokenizer_config.json": b"{" * 9}
    with pytest.raises(PlanError, match=r"tokenizer_config\.json is not JSON"):
        _ = runtime.load(tiny.write(tmp_path / "c", with_tokenizer=False, extra=files), threads=1).tokenizer


def test_a_huge_tokenizer_is_refused_before_it_is_read(tiny, tmp_path, monkeypatch):
    from archc.plan import reader

    monkeypatch.setattr(reader, "_TOKENIZER_LIMIT", 100)
    engine = runtime.load(tiny.write(tmp_path / "p"), threads=1)
    with pytest.raises(PlanError, match="at most 100 are accepted"):
        _ = engine.tokenizer


@given(st.text("abc", max_size=40), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), st.data())
def test_stop_strings_are_found_however_the_text_is_cut(text, stops, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    ends = [text.find(stop) for stop in stops if stop in text]
    matcher, out = StopMatcher(stops), ""
    for piece in pieces:
        if not matcher.stopped:
            out += matcher.push(piece)
            assert text.startswith(out)
    # A stop that is complete ends the text at once, so one that begins earlier but completes later may lose to it.
    if matcher.stopped:
        assert len(out) in [at for stop in stops for at in range(len(text)) if text.startswith(stop, at)]
        assert len(out) >= min(ends)
    else:
        assert not ends
        assert out + matcher.flush() == text


def test_text_that_may_begin_a_stop_string_is_held_back_and_no_more():
    matcher = StopMatcher(["\n\nUser:"])
    assert matcher.push("Hi\n") == "Hi"
    assert matcher.push("\nUse") == ""
    assert matcher.push("less") == "\n\nUseless"
    assert matcher.push("\n\nUser: x") == ""
    assert matcher.stopped


def test_generate_stops_at_a_text_that_lies_across_tokens(decoder):
    free = decoder.generate([5, 6, 7], 24, ignore_eos=True)[0]
    tokenizer = decoder.tokenizer
    text = tokenizer.decode(free)
    stop = text[3:6]
    at = text.index(stop)
    ids = decoder.generate([5, 6, 7], 24, ignore_eos=True, stop=stop)[0]
    assert decoder.finish_reasons == ["stop"]
    assert free[: len(ids)] == ids
    assert len(ids) < len(free)
    assert "".join(decoder.stream([5, 6, 7], max_new_tokens=24, ignore_eos=True, stop=[stop])) == text[:at]


@pytest.mark.parametrize(
    ("stop", "text", "ids"),
    [("cd", "ab", [0]), ("de", "abc", [0, 1]), ("bcde", "a", [0]), ("ab", "", []), ("f", "abcde", [0, 1, 2])],
)
def test_only_tokens_with_text_before_the_stop_string_are_kept(stop, text, ids):
    words = ["ab", "cd", "ef"]
    stream = TextStream(lambda ids: "".join(words[index] for index in ids))
    row = Row(Sampler(Sampling(), 3, []), 3, frozenset(), frozenset(), stream, [stop])
    said = ""
    for token in range(3):
        if row.finish is None:
            said += row.step(np.eye(3, dtype=np.float32)[token])[1]
    assert (said, row.ids, row.finish) == (text, ids, "stop")


def test_stream_yields_what_generate_would_say(decoder):
    prompt = decoder.tokenizer.encode("hello")
    expected = decoder.tokenizer.decode(decoder.generate(prompt, 20)[0])
    pieces = list(decoder.stream("hello", max_new_tokens=20))
    assert "".join(pieces) == expected
    assert all(pieces)
    assert decoder.timing["new_tokens"] == len(decoder.generate(prompt, 20)[0])


def test_a_stream_can_be_left_early(decoder):
    stream = decoder.stream("hello", max_new_tokens=20, ignore_eos=True)
    next(stream)
    stream.close()
    assert decoder.timing["new_tokens"] < 20
    assert decoder.generate([1], 2, ignore_eos=True)


def test_stream_explains_at_once_and_not_at_the_first_piece(decoder):
    with pytest.raises(PromptError, match="unknown option 'warmth'"):
        decoder.stream("hello", warmth=1)
    with pytest.raises(PromptError, match="one prompt, not 2"):
        decoder.stream([[1], [2]])


def test_chat_template_of_a_file_wins_and_named_ones_are_found(tiny, tmp_path):
    files = tiny.tokenizer_files()
    config = {
        "chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D{{ bos_token }}"}]
    }
    files["tokenizer/tokenizer_config.json"] = json.dumps({**config, "bos_token": "<s>"}).encode()
    named = runtime.load(tiny.write(tmp_path / "a", with_tokenizer=False, extra=files), threads=1)
    assert named.tokenizer.chat([{"role": "user", "content": "x"}]) == "D<s>"
    files["tokenizer/chat_template.jinja"] = b"F"
    filed = runtime.load(tiny.write(tmp_path / "b", with_tokenizer=False, extra=files), threads=1)
    assert filed.tokenizer.chat([{"role": "user", "content": "x"}]) == "F"
    del files["tokenizer/chat_template.jinja"], files["tokenizer/tokenizer_config.json"]
    none = runtime.load(tiny.write(tmp_path / "c", with_tokenizer=False, extra=files), threads=1)
    with pytest.raises(PromptError, match="no chat template"):
        none.stream("hi", chat=True)
