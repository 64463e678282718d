"""`archc chat`: lines of a pipe, the editor of a terminal, and interrupts."""

from __future__ import annotations

import fcntl
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from archc.cli.chat.answers import answer
from archc.cli.chat.reader import editor_reader, history_path
from archc.cli.chat.session import HELP, Session
from archc.runtime.generation.settings import Settings
from archc.runtime.serving.job import Event, Job, Listener
from archc.runtime.serving.service import Service, ServiceOptions
from tests.archc.conftest import TINY, Archc, Result

SUM = "37+85="


@pytest.fixture
def chat(archc: Archc, qwen: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Return a function that holds a chat of these lines."""

    def call(lines: str, *arguments: object, plan: Path = qwen) -> Result:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(lines.encode()), isatty=lambda: False))
        return archc("chat", plan, *arguments)

    return call


def test_turns_have_the_answers_of_run(chat, archc: Archc, qwen: Path) -> None:  # type: ignore[no-untyped-def]
    alone = archc("run", qwen, "--chat", SUM, "--max-new-tokens", 8).out
    result = chat(f"{SUM}\n/reset\n{SUM}\n", "--max-new-tokens", 8)
    assert (result.code, result.out) == (0, alone * 2)


def test_the_next_turn_computes_only_new_tokens(chat, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    result = chat(f"{SUM}\n12+30=\n/save {tmp_path / 'c.json'}\n", "--verbose", "--system", "Sums.")
    counts = [line.split() for line in result.err.splitlines() if "cached" in line]
    first, second = [(int(words[1]), int(words[6])) for words in counts]
    assert first[1] == 0
    assert second[1] >= first[0]
    saved = json.loads((tmp_path / "c.json").read_text("utf-8"))["messages"]
    assert [message["role"] for message in saved] == ["system", "user", "assistant", "user", "assistant"]
    assert saved[2]["content"] == result.out.splitlines()[0]


def test_commands_change_the_conversation(chat, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "c.json"
    lines = ["/system Sums.", SUM, "12+30=", "/undo", f"/save {file}", "/system", "/retry", f"/save {file}", "/help"]
    result = chat("\n".join([*lines, "/quit", "never\n"]), "--max-new-tokens", 4)
    assert (result.code, result.out.endswith(HELP + "\n")) == (0, True)
    messages = json.loads(file.read_text("utf-8"))["messages"]
    assert [message["content"] for message in messages][:1] == [SUM]
    assert len(messages) == 2
    again = chat(f"/load {file}\n/retry\n", "--max-new-tokens", 4)
    assert again.out.strip() == messages[1]["content"]
    assert chat("/retry\n", "--load", file, "--max-new-tokens", 4).out == again.out


def test_options_are_set_and_unset(chat) -> None:  # type: ignore[no-untyped-def]
    result = chat("/set\n/set max-new-tokens 2\n/set top-k 3\n/set temperature 0\n/set top-k\n/set\n37+85=\n/tokens\n")
    assert result.code == 0
    assert "all options have the plan's defaults" in result.err
    assert "max-new-tokens 2; temperature 0.0" in result.err
    assert " 2 new tokens" in result.err


def test_a_backslash_continues_the_line(chat, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "c.json"
    chat(f"a\\\nb\n//c\n/save {file}\n", "--max-new-tokens", 1)
    messages = json.loads(file.read_text("utf-8"))["messages"]
    assert [message["content"] for message in messages[::2]] == ["a\nb", "/c"]


BAD_LINES = {
    "/bogus": "/bogus: no such command; /help lists them",
    "/retry": "there is no message yet",
    "/tokens": "there is no answer yet",
    "/save": "/save: expected a file",
    "/load /nowhere/x.json": "/nowhere/x.json: no such file",
    "/set bogus 1": "'bogus' is not an option; expected one of max-new-tokens",
    "/set top-k x": "top-k: 'x' is not an integer",
    "/set top-p 7": "top_p: expected a number above 0",
    "/set temperature hot": "temperature: 'hot' is not a number",
    "/set ignore-eos maybe": "ignore-eos: expected yes or no",
    "a " * 600: "expected at most 512 tokens",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_lines(chat, line: str) -> None:  # type: ignore[no-untyped-def]
    result = chat(line + "\n")
    assert result.code == 2
    assert BAD_LINES[line] in result.errors[0]


@pytest.mark.parametrize("content", ["", "[1]", '{"messages": 3}', '[{"role": 1}]', "[" * 99999], ids=range(5))
def test_damaged_conversations(chat, tmp_path: Path, content: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "c.json"
    file.write_text(content)
    result = chat(f"/load {file}\n")
    assert (result.code, len(result.errors)) == (2, 1)
    assert "exists, and is no conversation" in chat(f"/save {file}\n").errors[0]
    assert file.read_text() == content


def test_plans_without_a_tokenizer_point_to_ids(chat, small: Path) -> None:  # type: ignore[no-untyped-def]
    assert "no tokenizer; use archc run" in chat("a\n", plan=small).errors[0]


def test_plans_without_a_template_point_to_run(  # type: ignore[no-untyped-def]
    chat, archc: Archc, tmp_path: Path
) -> None:
    shutil.copytree(TINY, tmp_path / "plain")
    settings = tmp_path / "plain" / "tokenizer_config.json"
    values = json.loads(settings.read_text("utf-8"))
    del values["chat_template"]
    settings.write_text(json.dumps(values), "utf-8")
    plan = tmp_path / "plain.plan"
    assert archc("build", tmp_path / "plain", "-o", plan).code == 0
    assert "no chat template; use archc run" in chat("a\n", plan=plan).errors[0]


def test_a_system_prompt_from_a_file(chat, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "s").write_text("Sums.\n")
    by_file = chat(f"{SUM}\n", "--system", f"@{tmp_path / 's'}", "--verbose")
    assert by_file.err == chat(f"{SUM}\n", "--system", "Sums.", "--verbose").err
    assert "No such file" in chat("a\n", "--system", f"@{tmp_path / 'none'}").errors[0]


@pytest.fixture
def service(qwen: Path) -> Iterator[Service]:
    service = Service(qwen, ServiceOptions(slots=1))
    yield service
    service.close()


def test_an_interrupt_ends_the_answer_alone(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = list[str]()

    def write(text: str) -> None:
        texts.append(text)
        if len(texts) == 3:
            raise KeyboardInterrupt

    new_job = service.job

    def slow_job(ids: Sequence[int], settings: Settings, listener: Listener) -> Job:
        def listen(event: Event) -> None:
            time.sleep(0.01)
            listener(event)

        return new_job(ids, settings, listen)

    monkeypatch.setattr(service, "job", slow_job)
    settings = Settings(ignore_eos=True, max_new_tokens=400)
    ids = service.encode_prompt([{"role": "user", "content": "Once"}])
    first = answer(service, ids, settings, write)
    assert first.is_interrupted
    assert 3 <= first.new_tokens < 400
    assert answer(service, ids, Settings(ignore_eos=True, max_new_tokens=2), texts.append).new_tokens == 2


def test_a_failed_message_is_forgotten(service: Service) -> None:
    from archc.cli.chat.conversation import Conversation
    from archc.error import Error

    session = Session(service, {"top_k": 3}, Conversation())
    with pytest.raises(Error, match="--top-k has no effect on greedy decoding"):
        session.handle("Once")
    assert session.conversation.messages == []


def test_the_editor_reads_lines_and_remembers_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        read = editor_reader(["/help", "/quit"])
        keys.send_text("one\x1b\rtwo\r")
        assert read() == "one\ntwo"
        keys.send_text("three\\\rfour\r")
        assert read() == "three\nfour"
        keys.send_text("\x03")
        with pytest.raises(KeyboardInterrupt):
            read()
        keys.send_text("\x04")
        with pytest.raises(EOFError):
            read()
    assert "+three\n+four\n" in history_path().read_text("utf-8")
    assert history_path().stat().st_mode & 0o77 == 0


def test_an_interrupt_at_a_terminal(qwen: Path, tmp_path: Path) -> None:
    ours, its_end = os.openpty()
    termios.tcsetwinsize(its_end, (24, 80))

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(its_end, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, "-m", "archc", "chat", str(qwen), "--ignore-eos", "--max-new-tokens", "400"],
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        preexec_fn=own_terminal,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path), "TERM": "xterm"},
    )
    os.close(its_end)
    seen = b""

    def wait_for(text: bytes) -> None:
        nonlocal seen
        end = time.monotonic() + 60
        while text not in seen and time.monotonic() < end:
            if select.select([ours], [], [], 1)[0]:
                seen += os.read(ours, 65536)
            if b"\x1b[6n" in seen:  # the editor requests the position of the cursor
                os.write(ours, b"\x1b[1;1R")
                seen = seen.replace(b"\x1b[6n", b"")
        assert text in seen
        seen = seen.partition(text)[2]

    try:
        wait_for(b"\x1b[?2004h")  # the editor is there
        os.write(ours, b"Once upon a time\r")
        wait_for(b"there")
        os.write(ours, b"\x03")
        wait_for(b"the answer ends here")
        for line in (b"/reset", b"/set ignore-eos no", b"What is 37+85?"):
            wait_for(b"\x1b[?2004h")
            os.write(ours, line + b"\r")
        wait_for(b"\x1b[?2004l122\r\n")  # the editor ends, and the answer is one line
        wait_for(b"\x1b[?2004h")
        os.write(ours, b"\x04")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
