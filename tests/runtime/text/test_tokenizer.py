"""The tokenizer of a plan, and its chat template."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archc import runtime
from archc.runtime import PlanError, PromptError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(texts)
def test_text_comes_back_from_its_ids(decoder, text):
    assert decoder.tokenizer.decode(decoder.tokenizer.encode(text)) == text


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
    with pytest.raises(PromptError, match=r"prompt, character 1: lone surrogate"):
        tokenizer.encode("a\ud800")
    with pytest.raises(PromptError, match="prompt: expected text, got bytes"):
        tokenizer.encode(b"bytes")
    with pytest.raises(PromptError, match="negative or larger"):
        tokenizer.decode([-1])
    assert tokenizer.decode([99999]) == ""
    with pytest.raises(PromptError, match="prompt is empty"):
        decoder.stream("")
    with pytest.raises(PromptError, match="expected at most 64 tokens, got 1000000"):
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
    with pytest.raises(PlanError, match="expected at most 100 bytes"):
        _ = engine.tokenizer


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
