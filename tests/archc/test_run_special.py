"""`archc run` with special tokens: in prompts, in stop sequences and in the text."""

from __future__ import annotations

from pathlib import Path

import pytest

import archc as api
from tests.archc.conftest import Archc

NEW = ("--max-new-tokens", 4)
PROMPT = "<|user|>What is 12+30?<|end|><|assistant|>"


def test_special_tokens_of_a_prompt_are_parsed_on_request(archc: Archc, qwen: Path) -> None:
    tokenizer = api.load(qwen).tokenizer
    assert tokenizer is not None
    parsed = archc("run", qwen, "--prompt", PROMPT, "--special", *NEW, "--json")
    assert parsed.json["prompt_ids"] == tokenizer.encode(PROMPT, parse_special=True)
    assert parsed.err == ""
    plain = archc("run", qwen, "--prompt", PROMPT, *NEW, "--json")
    assert plain.json["prompt_ids"] == tokenizer.encode(PROMPT)
    assert "the prompt spells the special token '<|user|>', which is plain text; --special parses it" in plain.err
    assert archc("run", qwen, "--prompt", "a < b |>", *NEW).err == ""
    assert archc("run", qwen, "--prompt", PROMPT, "--chat", *NEW).err == ""


def test_a_special_token_stops_and_is_shown_on_request(archc: Archc, qwen: Path) -> None:
    arguments = ("run", qwen, "--prompt", PROMPT, "--special", "--ignore-eos", "--max-new-tokens", 24)
    free = archc(*arguments, "--show-special", "--json").json
    assert "<|end|>" in free["text"]
    hidden = archc(*arguments, "--json").json
    assert "<|end|>" not in hidden["text"]
    assert hidden["output_ids"] == free["output_ids"]
    stopped = archc(*arguments, "--stop", "<|end|>", "--json").json
    assert stopped["finish"] == "stop"
    assert stopped["text"] == free["text"].split("<|end|>")[0]


CASES = {
    "ids are not parsed": (["--ids", "1", "--special"], "--special has no effect on --ids"),
    "chat messages are text": (["--prompt", "x", "--chat", "--special"], "--special contradicts --chat"),
    "no tokenizer": (
        ["--ids", "1", "--show-special"],
        "--show-special has no effect, because this plan has no tokenizer",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), CASES.values(), ids=CASES)
def test_options_without_effect_are_refused(archc: Archc, small: Path, arguments: list[str], message: str) -> None:
    result = archc("run", small, *arguments)
    assert result.code == 2
    assert message in result.err


def test_an_encoder_refuses_to_show_special_tokens(archc: Archc, bert: Path) -> None:
    result = archc("run", bert, "--ids", "1", "--show-special")
    assert result.code == 2
    assert "--show-special has no effect" in result.err
