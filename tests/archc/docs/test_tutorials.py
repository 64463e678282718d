"""Each tutorial from first line to last: files are written, commands and programs run, outputs compared."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from archc.cli.app import main
from tests.archc.docs.blocks import Command, File, Program, blocks

ROOT = Path(__file__).parents[3]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
_CURL = argparse.ArgumentParser()
for option in ("-s", "-d", "-H"):
    _CURL.add_argument(option, **({"action": "store_true"} if option == "-s" else {}))
_CURL.add_argument("url")


class Shell:
    """A folder in which a page is followed; `archc serve` runs until the next one, or the end of the page."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._server: subprocess.Popen[str] | None = None

    def run(self, command: Command) -> None:
        name, *words = shlex.split(command.line)
        if name == "pip":
            return  # the extras are those that the tests are run with; test_readme.py checks their names
        if name == "curl":
            options = _CURL.parse_args(words)
            self._compare(command, _request(options), "")
        elif name == "python":
            result = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
            self._compare(command, result.stdout, result.stderr)
        elif words[0] == "serve":
            self._serve(command, words)
        else:
            assert name == "archc", command.line
            self._archc(command, words)

    def close(self) -> None:
        """End the server, which has to drain and exit with 0."""
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            assert self._server.wait(60) == 0
            self._server = None

    def _archc(self, command: Command, words: list[str]) -> None:
        self._capsys.readouterr()
        sys.stdin = io.TextIOWrapper(io.BytesIO(b"What is 12+30?\n"))  # of `archc chat`
        code = main(words)
        captured = self._capsys.readouterr()
        refused = (command.output or "").startswith("archc: error: ")
        assert code == (2 if refused else 1 if words[0] == "diff" else 0), captured.err
        self._compare(command, captured.err if refused else captured.out, captured.err)

    def _serve(self, command: Command, words: list[str]) -> None:
        self.close()
        line = [sys.executable, "-m", "archc", *words]
        self._server = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
        assert self._server.stderr is not None
        self._compare(command, self._server.stderr.readline(), "")

    def _compare(self, command: Command, output: str, errors: str) -> None:
        assert command.output is None or command.shows(output), f"{command.line}\n{output}\n{errors}"


def _request(options: argparse.Namespace) -> str:
    headers = dict([options.H.split(": ")]) if options.H else {}
    return httpx.request(
        "POST" if options.d else "GET", options.url, content=options.d, headers=headers, timeout=60
    ).text


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", sys.stdin)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    shell = Shell(capsys)
    with contextlib.closing(shell):
        yield shell


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_is_true(page: Path, shell: Shell) -> None:
    text = page.read_text("utf-8")
    for port in sorted(set(re.findall(r"(?:--port |127\.0\.0\.1:)(\d+)", text))):
        text = text.replace(port, str(_free_port()))
    steps = list(blocks(text))
    assert len(steps) >= 5
    for step in steps:
        if isinstance(step, File):
            Path(step.name).write_text(step.content, "utf-8")
        elif isinstance(step, Program):
            exec(compile(step.code, page.name, "exec"), {})
        else:
            shell.run(step)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_another_output_is_refused() -> None:
    command = Command("archc check x", "ok: x (…)\n  size …")
    assert command.shows("ok: x (x.yaml)\n  size tiny\n")
    assert not command.shows("ok: y (x.yaml)\n  size tiny\n")
    assert not command.shows("ok: x (x.yaml)")
