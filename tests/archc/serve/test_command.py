"""Errors of `archc serve` before it serves."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.plan"], "no.plan"),
        (["--max-body", "many", "no.plan"], "--max-body: expected a size"),
        (["--cache-memory", "0", "no.plan"], "--cache-memory: expected a size"),
        (["--api-key", "ä", "no.plan"], "--api-key: expected printable ASCII"),
        (["--port", "70000", "no.plan"], "--port"),
        (["--speculate", "many", "no.plan"], "--speculate: expected a number of tokens, off or auto"),
        (["--speculate", "off", "--draft", "a.plan", "no.plan"], "--draft has no effect with --speculate off"),
    ],
    ids=["missing", "body", "cache", "key", "port", "speculate", "draft"],
)
def test_usage_errors(archc: Callable[..., Any], arguments: list[str], message: str) -> None:
    result = archc("serve", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert "Traceback" not in result.err


def test_names_and_sizes(archc: Callable[..., Any], qwen: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.plan"
    damaged.write_bytes(qwen.read_bytes()[:1000])
    for arguments, message in (
        ([qwen, qwen], "is that of"),
        ([f"={qwen}"], "expected a name"),
        ([qwen, "--max-memory", "1M"], "--max-memory"),
        ([damaged], "damaged.plan"),
        ([qwen, "--host", "no such host"], "not an address"),
    ):
        result = archc("serve", *arguments)
        assert result.code == 2
        assert message in result.err


def test_a_port_in_use(archc: Callable[..., Any], qwen: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = archc("serve", qwen, "--port", taken.getsockname()[1])
    assert result.code == 2
    assert "give another --host or --port" in result.err
