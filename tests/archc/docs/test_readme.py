"""The README's examples run; it, CONTRIBUTING.md and docs/ name only commands, options and extras that exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from archc.cli.parser import app
from tests.archc.conftest import Archc

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {
    str(path.relative_to(ROOT)): text
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "pip install" in (text := path.read_text("utf-8"))
}
_COMMENT = re.compile(r"\s+#.*|\s+→.*")


def commands(page: str) -> list[str]:
    """Return the command lines of archc in the indented blocks of a page."""
    lines = [line for line in page.splitlines() if re.match(r" {4,}(\$ )?archc ", line)]
    return [_COMMENT.sub("", line).strip().removeprefix("$ ") for line in lines]


COMMANDS = commands(README)
DOCUMENTED = {
    f"{path.stem}-{re.sub(r'[^a-z0-9]+', '-', line)[:60]}": line
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
    for line in commands(path.read_text("utf-8"))
    if "[" not in line  # a synopsis
}


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert len(capsys.readouterr().out) > 80
    assert (tmp_path / "engine.plan").is_file()


@pytest.mark.parametrize("command", DOCUMENTED)
def test_every_command_line_parses(command: str) -> None:
    _, name, *words = shlex.split(re.split(r" [<>] ", DOCUMENTED[command])[0])
    group = typer.main.get_command(app)
    group.commands[name].make_context(name, words)  # type: ignore[attr-defined]


def test_the_family_of_the_examples(archc: Archc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    lines = [line for line in COMMANDS if "examples/my-family" in line or "mine.plan" in line]
    assert len(lines) == 3
    for line in lines:
        result = archc(*shlex.split(line)[1:])
        assert result.code == 0, result.err
    assert len((ROOT / "examples" / "my-family.yaml").read_text("utf-8").splitlines()) < 30


def test_the_answer_of_the_quick_start(archc: Archc, qwen: Path) -> None:
    assert '$ archc run engine.plan "37+85="\n    122\n' in README
    assert archc("run", qwen, "--prompt", "37+85=").out == "122\n"


@pytest.mark.parametrize("page", PAGES)
def test_extras_exist(page: str) -> None:
    known = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])
    named = re.findall(r'pip install "(?:\.|archc-compiler)\[([\w,]+)\]"', PAGES[page])
    named += re.findall(r'"\.\[([\w,]+)\]"', PAGES[page])
    assert named
    assert {extra for extras in named for extra in extras.split(",")} <= known
    assert "archc[" not in PAGES[page]


def test_every_target_is_listed(archc: Archc) -> None:
    for target in archc("list", "--targets", "--json").json["targets"]:
        row = next(line for line in README.splitlines() if line.startswith(f"| `{target['name']}`"))
        assert row.endswith(f"| {', '.join(target['dtypes'])} |")
        assert ("experimental" in row) == (target["name"] not in ("ort-cpu", "onnx", "onnx-hf"))
