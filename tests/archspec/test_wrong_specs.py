"""Every wrong spec under wrong/, one fault each, and the message it must give, which messages.txt has under its name.

configs.json has the config.json that each is bound to, where that is not empty. In a message, … stands for lists that
grow with the vocabulary.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from archspec import ArchspecError, load_spec

WRONG = Path(__file__).parent / "wrong"
BLOCKS = [block.splitlines() for block in (WRONG / "messages.txt").read_text("utf-8").split("\n\n")]
CONFIGS = json.loads((WRONG / "configs.json").read_text("utf-8"))
MESSAGES = {name.strip("[]"): lines for name, *lines in BLOCKS}


@pytest.mark.parametrize("path", sorted(WRONG.glob("*.yaml")), ids=lambda path: path.stem)
def test_message(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(WRONG)
    with pytest.raises(ArchspecError) as raised:
        load_spec(Path(path.name)).bind(CONFIGS.get(path.stem, {}), source=f"{path.stem}.json")
    found = str(raised.value).splitlines()
    expected = MESSAGES[path.stem]
    assert len(found) == len(expected), raised.value
    for line, pattern in zip(found, expected, strict=True):
        assert re.fullmatch(re.escape(pattern).replace("…", ".*"), line), f"{line}\nis not\n{pattern}"


def test_every_expected_message_has_its_spec() -> None:
    assert MESSAGES.keys() == {path.stem for path in WRONG.glob("*.yaml")}
    assert MESSAGES.keys() >= CONFIGS.keys()


def test_many_faults_are_reported_at_once() -> None:
    with pytest.raises(ArchspecError) as raised:
        load_spec(WRONG / "many_faults.yaml")
    assert [problem.line for problem in raised.value.problems] == [3, 4, 5, 6, 6, 7]
