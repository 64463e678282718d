"""The Python blocks of the pages: run, quoted from the sources, or compiled with their imports of archc."""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path

import pytest

from tests.archc.docs.blocks import Program, blocks
from tests.archc.serve.conftest import running

ROOT = Path(__file__).parents[3]
OTHER_PACKAGES = ("runtimes.md", "deploy.md")  # which the tests do without: benchmarks/runtimes.py runs the former
QUOTING = ("writing-a-component.md", "writing-a-lowering.md")
RUN = ("serve.md", "language.md")


def programs(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    return [block.code for block in blocks(text) if isinstance(block, Program)]


@cache
def lines_of_sources() -> frozenset[str]:
    rooms = ("archc", "archspec", "compiler", "plan", "runtime", "tests")
    files = (path for room in rooms for path in (ROOT / room).rglob("*.py"))
    return frozenset(line.strip() for path in files for line in path.read_text("utf-8").splitlines())


@pytest.mark.parametrize("page", QUOTING)
def test_quoted_lines_are_in_the_sources(page: str) -> None:
    lines = [line.strip() for code in programs(page) for line in code.splitlines()]
    assert len(lines) > 10
    assert [line for line in lines if line not in ("", "...") and line not in lines_of_sources()] == []


def test_the_client_of_the_serving_page(qwen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = programs("serve.md")
    with running([str(qwen)]) as server:
        exec(compile(code.replace("http://127.0.0.1:8000", server.url), "serve.md", "exec"), {})
    assert len(capsys.readouterr().out) > 80


@pytest.mark.parametrize("page", OTHER_PACKAGES)
def test_programs_for_other_packages_import_what_archc_has(page: str) -> None:
    assert programs(page)
    for code in programs(page):
        for node in ast.parse(code).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("archc"):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, name.name) for name in node.names)


def test_no_page_has_a_program_that_no_test_reads() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md") if programs(path.name)}
    assert pages == {*OTHER_PACKAGES, *QUOTING, *RUN}
