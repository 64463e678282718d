"""`archc run`, in this process and in one of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import archc as api
from archc.runtime import engine
from tests.archc.conftest import Archc, sets
from tests.runtime.tiny import rewritten

GREEDY = ("--max-new-tokens", 8)


def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    # A shell that starts jobs in the background lets them ignore SIGINT, and the test with them.
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "archc", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def test_text_is_what_the_engine_writes(archc: Archc, qwen: Path) -> None:
    result = archc("run", qwen, "--prompt", "Once upon", *GREEDY)
    with api.load(qwen) as loaded:
        expected = "".join(loaded.stream("Once upon", max_new_tokens=8))
        assert loaded.generate("Once upon", max_new_tokens=8) == expected
    with pytest.raises(api.Error, match="the engine is closed"):
        loaded.generate("Once upon")
    assert (result.code, result.out) == (0, expected + "\n")
    assert result.err == ""


def test_json(archc: Archc, qwen: Path) -> None:
    result = archc("run", qwen, "--prompt", "Once upon", *GREEDY, "--json").json
    assert set(result) == {"prompt_ids", "output_ids", "text", "finish", "timing"}
    loaded = api.load(qwen)
    assert result["output_ids"] == loaded.generate(result["prompt_ids"], max_new_tokens=8)[0]
    assert result["text"] == loaded.tokenizer.decode(result["output_ids"])
    assert result["finish"] == "length"
    assert result["timing"]["new_tokens"] == 8


def test_only_weights_of_fewer_bits_are_packed(archc: Archc, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    load = engine.load

    def watched(*arguments: Any, prepack: str, **options: Any) -> engine.Engine:
        seen.append(prepack)
        return load(*arguments, prepack=prepack, **options)

    monkeypatch.setattr("archc.runtime.engine.load", watched)
    assert archc("run", small, "--ids", "1", *GREEDY).code == 0
    assert seen == ["auto"]


def test_ids_without_a_tokenizer(archc: Archc, small: Path) -> None:
    text = archc("run", small, "--ids", "1, 2 3", *GREEDY)
    result = archc("run", small, "--ids", "1,2,3", *GREEDY, "--json").json
    assert [int(word) for word in text.out.split(",")] == result["output_ids"]
    assert result["prompt_ids"] == [1, 2, 3]
    assert result["text"] is None
    assert text.out.endswith("\n")


def test_stop_text_is_cut(archc: Archc, qwen: Path) -> None:
    whole = archc("run", qwen, "--prompt", "Once upon", *GREEDY).out
    stop = whole[5:8]
    streamed = archc("run", qwen, "--prompt", "Once upon", *GREEDY, "--stop", stop)
    result = archc("run", qwen, "--prompt", "Once upon", *GREEDY, "--stop", stop, "--json").json
    assert streamed.out == whole[: whole.index(stop)] + "\n"
    assert result["text"] + "\n" == streamed.out
    assert result["finish"] == "stop"


def test_stop_token(archc: Archc, small: Path) -> None:
    ids = archc("run", small, "--ids", 5, *GREEDY, "--json").json["output_ids"]
    result = archc("run", small, "--ids", 5, *GREEDY, "--stop-token", ids[0], "--json").json
    assert (result["output_ids"], result["finish"]) == ([], "stop")


def test_sampling_repeats_with_its_seed(archc: Archc, small: Path) -> None:
    options = ("--temperature", 1, "--top-k", 30, "--top-p", 0.9, "--min-p", 0.01, "--repetition-penalty", 1.2)
    first, again, other = (archc("run", small, "--ids", 5, *options, "--seed", seed).out for seed in (1, 1, 2))
    assert first == again != other


def test_chat_goes_through_the_template(archc: Archc, qwen: Path) -> None:
    chat = archc("run", qwen, "--prompt", "37+85=", "--chat", "--json", *GREEDY).json
    plain = archc("run", qwen, "--prompt", "37+85=", "--json", *GREEDY).json
    assert len(chat["prompt_ids"]) == len(plain["prompt_ids"]) + 3  # <|user|> <|end|> <|assistant|>


def test_a_chat_ends_at_the_text_of_its_format(archc: Archc, qwen: Path, tmp_path: Path) -> None:
    free = archc("run", qwen, "--prompt", "37+85=", "--chat", "--json", *GREEDY).json["text"]
    plan = rewritten(qwen, tmp_path / "p", lambda graphs, manifest: manifest.update(chat_stop=[free[1]]))
    result = archc("run", plan, "--prompt", "37+85=", "--chat", "--json", *GREEDY).json
    assert (result["text"], result["finish"]) == (free[: free.index(free[1])], "stop")
    assert archc("run", plan, "--prompt", "37+85=", "--chat", "--json", "--no-defaults", *GREEDY).json["text"] == free
    assert archc("inspect", plan).out.count(f"a chat ends at {json.dumps(free[1])}") == 1


def test_encoder_shows_its_outputs(archc: Archc, bert: Path) -> None:
    text = archc("run", bert, "--ids", "1,2,3").out
    assert "hidden_states [3, 32]: mean" in text
    assert "pooled [32]: mean" in text
    result = archc("run", bert, "--ids", "1,2,3", "--json").json
    assert result["output_ids"] == []
    assert result["text"] is None
    assert result["hidden_states"] == api.load(bert).encode([[1, 2, 3]])[0].tolist()
    assert len(result["pooled"]) == 32


BAD_ARGUMENTS: dict[str, tuple[list[str], str]] = {
    "no-prompt": ([], "no prompt"),
    "two-prompts": (["--prompt", "a", "--ids", "1"], "--prompt and --ids contradict each other"),
    "prompt-in-two-places": (["a", "--prompt", "b"], "--prompt and a prompt after the plan contradict each other"),
    "prompt-and-ids": (["a", "--ids", "1"], "the prompt after the plan and --ids contradict each other"),
    "chat-of-ids": (["--ids", "1", "--chat"], "--chat has no effect on --ids"),
    "empty-ids": (["--ids", ""], "--ids is empty"),
    "word-for-an-id": (["--ids", "1,x"], "'x' is not a token id"),
    "negative-id": (["--ids", "-1"], "'-1' is not a token id"),
    "huge-id": (["--ids", "9" * 30], "is not a token id"),
    "id-past-the-vocabulary": (["--ids", "60"], "expected an id from 0 to 59"),
    "prompt-fills-the-plan": (["--ids", ",".join(["1"] * 40)], "expected fewer than 40 tokens"),
    "text-without-a-tokenizer": (["--prompt", "a"], "this plan has no tokenizer"),
    "prompt-not-utf-8": (["--prompt", "a\udcffb"], "--prompt: byte 0xff at 1 is not valid UTF-8"),
    "half-of-a-pair": (["--prompt", "a\ud800b"], "at character 1 is half of a surrogate pair"),
    "top-k-of-greedy": (["--ids", "1", "--top-k", "3"], "--top-k has no effect on greedy decoding; add --temperature"),
    "seed-of-greedy": (
        ["--ids", "1", "--temperature", "0", "--seed", "3"],
        "--seed has no effect on greedy decoding",
    ),
    "negative-temperature": (
        ["--ids", "1", "--temperature", "-1"],
        "temperature: expected a number of at least 0 (0 is greedy), got -1.0",
    ),
    "nan-temperature": (
        ["--ids", "1", "--temperature", "nan"],
        "temperature: expected a number of at least 0 (0 is greedy), got nan",
    ),
    "stop-without-a-tokenizer": (["--ids", "1", "--stop", "a"], "the plan has no tokenizer"),
    "no-new-tokens": (["--ids", "1", "--max-new-tokens", "0"], "--max-new-tokens"),
    "no-threads": (["--ids", "1", "--threads", "0"], "--threads"),
    "unknown-option": (["--ids", "1", "--no-such"], "--no-such"),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_bad_arguments(archc: Archc, small: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, message = BAD_ARGUMENTS[case]
    monkeypatch.setattr(sys, "stdin", None)
    result = archc("run", small, *arguments)
    assert (result.code, result.out) == (2, "")
    assert len(result.errors) == 1
    assert message in result.errors[0]


def test_errors_are_json_too(archc: Archc, small: Path) -> None:
    unknown = archc("run", small, "--no-such", "--json")
    assert (unknown.code, unknown.json) == (2, {"error": unknown.errors[0]})
    result = archc("run", small, "--ids", "x", "--json")
    assert result.code == 2
    assert result.json == {"error": result.errors[0]}


def test_encoder_refuses_options_of_generation(archc: Archc, bert: Path) -> None:
    for option in (["--ignore-eos"], ["--temperature", 1], ["--stop-token", 3], ["--max-new-tokens", 3]):
        result = archc("run", bert, "--ids", "1", *option)
        assert result.code == 2
        assert f"{option[0]} has no effect" in result.errors[0]


def test_damaged_plans(archc: Archc, small: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.plan").write_bytes(small.read_bytes()[:5000])
    (tmp_path / "text.plan").write_text("hello")
    for name in ("cut.plan", "text.plan", "none.plan", "."):
        result = archc("run", tmp_path / name, "--ids", 1)
        assert result.code == 2
        assert len(result.errors) == 1


def read_from(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def test_stdin(archc: Archc, qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = archc("run", qwen, "--prompt", "Once upon", *GREEDY).out
    read_from(monkeypatch, b"Once upon\n")
    assert archc("run", qwen, "--prompt", "-", *GREEDY).out == expected


def test_a_prompt_after_the_plan(archc: Archc, qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = archc("run", qwen, "--prompt", "Once upon", *GREEDY).out
    monkeypatch.setattr(sys, "stdin", None)
    assert archc("run", qwen, "Once upon", *GREEDY).out == expected


@pytest.mark.parametrize("data", [b"Once upon\n", b""], ids=["text", "empty"])
def test_a_pipe_is_the_prompt(qwen: Path, archc: Archc, data: bytes) -> None:
    process = start("run", qwen, *GREEDY, stdin=subprocess.PIPE)
    out, err = process.communicate(data, timeout=60)
    if data:
        assert (out.decode(), err) == (archc("run", qwen, "Once upon", *GREEDY).out, b"")
    else:
        assert (process.returncode, out) == (2, b"")
        assert b"no prompt; pass archc run PLAN" in err


def test_no_prompt_at_a_terminal_is_an_error(qwen: Path) -> None:
    terminal, its_end = os.openpty()
    try:
        process = start("run", qwen, stdin=its_end)
        _, err = process.communicate(timeout=60)
    finally:
        os.close(terminal)
        os.close(its_end)
    assert process.returncode == 2
    assert b"archc chat PLAN holds a conversation" in err


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\xffb", "stdin: byte 0xff at 1 is not valid UTF-8"),
        (b"a" * 10**6, "expected at most 512 tokens"),
        (b"", "the prompt is empty"),
    ],
    ids=["not-utf-8", "too-long", "empty"],
)
def test_bad_stdin(archc: Archc, qwen: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, message: str) -> None:
    read_from(monkeypatch, data)
    result = archc("run", qwen, "--prompt", "-")
    assert result.code == 2
    assert message in result.errors[0]


def test_nul_bytes_are_text(archc: Archc, qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_from(monkeypatch, b"Once\0upon")
    assert archc("run", qwen, "--prompt", "-", *GREEDY).code == 0


def test_interrupt_in_the_middle_of_a_stream(qwen: Path) -> None:
    process = start("run", qwen, "--prompt", "Once upon", "--ignore-eos", "--max-new-tokens", 10**6)
    assert process.stdout is not None
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, b"")
    assert out.endswith(b"\n")


def test_closed_pipe_ends_quietly(qwen: Path) -> None:
    process = start("run", qwen, "--prompt", "Once upon", "--ignore-eos", "--max-new-tokens", 10**6)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(1)
    process.stdout.close()
    assert (process.wait(timeout=30), process.stderr.read()) == (141, b"")
    process.stderr.close()


def test_stdout_that_cannot_be_written(qwen: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").touch()
    with (tmp_path / "closed").open("rb") as unwritable:
        done = subprocess.run(
            [sys.executable, "-m", "archc", "run", qwen, "--prompt", "Once", "--json"],
            stdout=unwritable,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 2
    assert done.stderr.startswith(b"archc: error: ")
    assert b"Traceback" not in done.stderr


def test_locale_without_unicode(qwen: Path) -> None:
    process = start(
        "run",
        qwen,
        "--prompt",
        "é",
        "--json",
        "--max-new-tokens",
        1,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"},
    )
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out)["prompt_ids"] == api.load(qwen).tokenizer.encode("é")


ABLATIONS = [
    ["layer.norm.placement=post"],
    ["layer.norm=none", "final_norm=none"],
    ["position=alibi"],
    ["position=learned"],
]


@pytest.mark.parametrize("ablation", ABLATIONS, ids=" ".join)
def test_ablations_build_and_run(archc: Archc, tmp_path: Path, ablation: list[str]) -> None:
    from tests.archc.conftest import SMALL

    plan = tmp_path / "engine.plan"
    built = archc("build", "small-lm", "--random", 0, *sets([*SMALL, *ablation]), "-o", plan)
    assert built.code == 0, built.err
    ran = archc("run", plan, "--ids", "1,2,3", *GREEDY, "--json")
    assert ran.code == 0, ran.err
    assert len(ran.json["output_ids"]) == 8
