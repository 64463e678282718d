"""Every wrong spec of wrong/specs.txt, one fault each, and the message it must give: messages.txt has it by that name.

configs.json has the config.json that each is bound to, where that is not empty. In a message, … stands for lists that
grow with the vocabulary.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from archc.archspec import ArchspecError, load_spec

WRONG = Path(__file__).parent / "wrong"
BLOCKS = [block.splitlines() for block in (WRONG / "messages.txt").read_text("utf-8").split("\n\n")]
CONFIGS = json.loads((WRONG / "configs.json").read_text("utf-8"))
MESSAGES = {name.strip("[]"): lines for name, *lines in BLOCKS}
_, *PARTS = re.split(r"^\[(\w+)\]\n", (WRONG / "specs.txt").read_text("utf-8"), flags=re.MULTILINE)
SPECS = dict(zip(PARTS[::2], PARTS[1::2], strict=True))


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with every wrong spec and the sound one that they extend."""
    folder = tmp_path / "wrong"
    shutil.copytree(WRONG, folder)
    for name, text in SPECS.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", SPECS)
def test_message(name: str, wrong: Path) -> None:
    with pytest.raises(ArchspecError) as raised:
        load_spec(Path(f"{name}.yaml")).bind(CONFIGS.get(name, {}), source=f"{name}.json")
    found = str(raised.value).splitlines()
    expected = MESSAGES[name]
    assert len(found) == len(expected), raised.value
    for line, pattern in zip(found, expected, strict=True):
        assert re.fullmatch(re.escape(pattern).replace("…", ".*"), line), f"{line}\nis not\n{pattern}"


def test_every_expected_message_has_its_spec() -> None:
    assert MESSAGES.keys() == SPECS.keys()
    assert MESSAGES.keys() >= CONFIGS.keys()


def test_many_faults_are_reported_at_once(wrong: Path) -> None:
    with pytest.raises(ArchspecError) as raised:
        load_spec(wrong / "many_faults.yaml")
    assert [problem.line for problem in raised.value.problems] == [3, 4, 5, 6, 6, 7]
