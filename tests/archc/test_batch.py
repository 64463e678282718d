"""`archc run --batch`: requests of a file through the slots of a service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from archc import runtime
from tests.archc.conftest import Archc

CHAT = {"role": "user", "content": "37+85="}


def write(path: Path, *lines: object) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", "utf-8")
    return path


def records(path: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len({record["custom_id"] for record in found}) == len(found)
    return {record["custom_id"]: record for record in found}


def choice(record: dict[str, Any]) -> dict[str, Any]:
    assert record["error"] is None
    assert record["response"]["status_code"] == 200
    found: dict[str, Any] = record["response"]["body"]["choices"][0]
    return found


def test_answers_are_those_of_each_alone(archc: Archc, qwen: Path, tmp_path: Path) -> None:
    prompts = ["Once upon a time", "The little fox", "12+30=", "Lily went to the", "One day"]
    lines = [
        *({"custom_id": text, "prompt": text} for text in prompts),
        {
            "custom_id": "chat",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": [CHAT], "n": 1},
        },
        {
            "custom_id": "ids",
            "method": "POST",
            "url": "/v1/completions",
            "body": {"prompt": [3, 4, 5], "max_tokens": 3, "ignore_eos": True},
        },
    ]
    out = tmp_path / "out.jsonl"
    result = archc(
        "run", qwen, "--batch", write(tmp_path / "in", *lines), "-o", out, "--slots", 3, "--max-new-tokens", 9
    )
    assert (result.code, result.out, result.err) == (0, "", "")
    found = records(out)
    for text in prompts:
        alone = archc("run", qwen, text, "--max-new-tokens", 9, "--json").json
        assert choice(found[text])["text"] == alone["text"]
        usage = found[text]["response"]["body"]["usage"]
        assert usage["prompt_tokens"] == len(alone["prompt_ids"])
        assert usage["completion_tokens"] == len(alone["output_ids"])
    alone = archc("run", qwen, "--chat", CHAT["content"], "--max-new-tokens", 9, "--json").json
    assert choice(found["chat"])["message"] == {"role": "assistant", "content": alone["text"]}
    assert choice(found["chat"])["finish_reason"] == "stop"
    assert found["chat"]["response"]["body"]["model"] == "m"
    assert found["ids"]["response"]["body"]["usage"]["completion_tokens"] == 3


def test_options_are_those_of_the_server(archc: Archc, qwen: Path, tmp_path: Path) -> None:
    engine = runtime.load(qwen, threads=1)
    assert engine.tokenizer is not None
    digit = engine.tokenizer.encode("7")[-1]
    penalties = {"logit_bias": {digit: 10.0}, "frequency_penalty": 2.0, "presence_penalty": 1.5, "ignore_eos": True}
    schema = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"], "additionalProperties": False}
    lines = [
        {"custom_id": "bias", "prompt": "37+85=", "max_tokens": 1, "logit_bias": {str(digit): 100}},
        {
            "custom_id": "penalties",
            "prompt": "37+85=",
            "max_tokens": 8,
            "logit_bias": {str(digit): 10},
            "frequency_penalty": 2,
            "presence_penalty": 1.5,
            "ignore_eos": True,
        },
        {
            "custom_id": "json",
            "messages": [CHAT],
            "max_tokens": 40,
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
        },
    ]
    out = tmp_path / "out.jsonl"
    assert archc("run", qwen, "--batch", write(tmp_path / "in", *lines), "-o", out).code == 0
    found = records(out)
    assert choice(found["bias"])["text"] == "7"
    texts = [
        "".join(engine.stream("37+85=", max_new_tokens=8, **{**penalties, **others}))
        for others in ({}, {"frequency_penalty": 0.0}, {"presence_penalty": 0.0}, {"logit_bias": None})
    ]
    assert choice(found["penalties"])["text"] == texts[0]
    assert texts[0] not in texts[1:]
    assert json.loads(choice(found["json"])["message"]["content"]) == {"a": 1}


BAD: dict[str, tuple[object, str]] = {
    "text": ("not json", "not JSON"),
    "list": ([1], "expected an object"),
    "deep": ("[" * 100000, "not JSON"),
    "id": ({"custom_id": 3, "prompt": "a"}, "custom_id: expected a text"),
    "twice": ({"custom_id": "good", "prompt": "a"}, "custom_id is that of line 1"),
    "url": ({"url": "/v1/embeddings", "body": {}}, "url: expected /v1/chat/completions or"),
    "method": ({"url": "/v1/completions", "method": "GET", "body": {"prompt": "a"}}, "method: expected POST"),
    "body": ({"url": "/v1/completions", "body": 3}, "body: expected an object"),
    "wrong-url": ({"url": "/v1/completions", "body": {"messages": [CHAT]}}, "prompt not found"),
    "field": ({"prompt": "a", "bogus": 1}, "unknown option 'bogus'"),
    "stream": ({"prompt": "a", "stream": True}, "stream: only False is supported"),
    "both": ({"prompt": "a", "messages": [CHAT]}, "got both"),
    "none": ({"max_tokens": 3}, "got none"),
    "prompt": ({"prompt": ["a", 3]}, "prompt: expected one text"),
    "range": ({"prompt": "a", "top_p": 7}, "top_p: expected a number above 0"),
    "bias": ({"prompt": "a", "logit_bias": {"a": 1}}, "logit_bias: expected a mapping of token ids"),
    "penalty": ({"prompt": "a", "presence_penalty": 3}, "presence_penalty: expected a number from -2 to 2"),
    "format": ({"prompt": "a", "response_format": {"type": "xml"}}, "response_format.type: expected text"),
    "two-grammars": (
        {"prompt": "a", "response_format": {"type": "json_object"}, "regex": "a"},
        "regex: contradicts response_format",
    ),
    "kind": ({"prompt": "a", "max_tokens": "3"}, "max_new_tokens: expected an integer"),
    "id-range": ({"prompt": [10**9]}, "expected an id from 0"),
    "image": ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "expected parts such as"),
    "role": ({"messages": [{"content": "a"}]}, "role not found"),
    "surrogate": ('{"prompt": "\\ud800"}', "lone surrogate"),
    "long": ({"prompt": "a " * 600}, "expected at most 512 tokens"),
    "beams": ({"prompt": "a", "num_beams": 2}, "beam search is not supported"),
}


def test_a_bad_line_is_a_record_and_not_the_end(archc: Archc, qwen: Path, tmp_path: Path) -> None:
    good = {"custom_id": "good", "prompt": "Once", "max_tokens": 2}
    file = write(tmp_path / "in", good, *(line for line, _ in BAD.values()), {**good, "custom_id": "last"})
    out = tmp_path / "out.jsonl"
    result = archc("run", qwen, "--batch", file, "-o", out)
    assert result.code == 1
    assert f"{len(BAD)} requests failed" in result.err
    found = records(out)
    assert len(found) == len(BAD) + 2
    assert choice(found["good"])["text"] == choice(found["last"])["text"]
    for number, (case, (_, message)) in enumerate(BAD.items(), 2):
        record = found[f"line-{number}"]
        assert message in record["error"]["message"], case
        assert record["response"] is None


def test_a_later_run_computes_the_rest(archc: Archc, qwen: Path, tmp_path: Path) -> None:
    lines = [{"custom_id": str(n), "prompt": f"{n}+{n}=", "max_tokens": 4} for n in range(6)]
    file, out = write(tmp_path / "in", *lines), tmp_path / "out.jsonl"
    assert archc("run", qwen, "--batch", file, "-o", out).code == 0
    whole = records(out)
    kept = out.read_text("utf-8").splitlines(keepends=True)
    out.write_text("".join(kept[:3]) + kept[3][:40], "utf-8")
    assert archc("run", qwen, "--batch", file, "-o", out).code == 0
    again = out.read_text("utf-8").splitlines(keepends=True)
    assert again[:3] == kept[:3]
    assert {name: choice(record) for name, record in records(out).items()} == {
        name: choice(record) for name, record in whole.items()
    }


def test_a_killed_run_loses_only_what_was_running(archc: Archc, qwen: Path, tmp_path: Path) -> None:
    lines = [{"custom_id": str(n), "prompt": f"{n}+{n}=", "ignore_eos": True, "max_tokens": 40} for n in range(60)]
    file, out = write(tmp_path / "in", *lines), tmp_path / "out.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "archc", "run", str(qwen), "--batch", str(file), "-o", str(out), "--slots", "2"]
    )
    end = time.monotonic() + 120
    while time.monotonic() < end and not (out.exists() and out.stat().st_size):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = out.read_bytes()
    assert before
    assert archc("run", qwen, "--batch", file, "-o", out).code == 0
    complete = before[: before.rfind(b"\n") + 1]
    assert out.read_bytes().startswith(complete)
    assert len(records(out)) == 60


def test_results_go_to_stdout_without_a_file(archc: Archc, small: Path, tmp_path: Path) -> None:
    result = archc("run", small, "--batch", write(tmp_path / "in", {"prompt": [1, 2, 3]}, ""), "--max-new-tokens", 5)
    record = json.loads(result.out)
    expected = archc("run", small, "--ids", "1,2,3", "--max-new-tokens", 5, "--json").json["output_ids"]
    assert choice(record)["token_ids"] == expected
    assert record["custom_id"] == "line-1"


BAD_ARGUMENTS: dict[str, tuple[list[str], str]] = {
    "prompt": (["x", "--batch", "IN"], "a prompt has no effect with --batch"),
    "chat": (["--batch", "IN", "--chat"], "--chat has no effect with --batch"),
    "out-alone": (["--ids", "1", "-o", "x"], "-o has no effect without --batch"),
    "slots-alone": (["--ids", "1", "--slots", "2"], "--slots has no effect without --batch"),
    "same-file": (["--batch", "IN", "-o", "IN"], "is the file of requests too"),
    "no-input": (["--batch", "/nowhere/x"], "--batch: /nowhere/x: No such file"),
    "no-folder": (["--batch", "IN", "-o", "/nowhere/x"], "/nowhere/x: No such file"),
    "foreign-output": (["--batch", "IN", "-o", "OTHER"], "not a result of a batch"),
    "beams": (["--batch", "IN", "--num-beams", "2"], "--num-beams is not supported with --batch"),
    "greedy": (["--batch", "IN", "--top-k", "2"], "--top-k has no effect on greedy decoding"),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_bad_arguments(archc: Archc, small: Path, tmp_path: Path, case: str) -> None:
    arguments, message = BAD_ARGUMENTS[case]
    other = write(tmp_path / "other", "Important.")
    names = {"IN": str(write(tmp_path / "in", {"prompt": [1]})), "OTHER": str(other)}
    result = archc("run", small, *(names.get(word, word) for word in arguments))
    assert result.code == 2
    assert message in result.errors[0]
    assert other.read_text() == "Important.\n"


def test_an_encoder_has_no_batch(archc: Archc, bert: Path, tmp_path: Path) -> None:
    result = archc("run", bert, "--batch", write(tmp_path / "in", {"prompt": [1]}))
    assert "--batch has no effect, because bert is an encoder" in result.errors[0]
