"""Every wrong spec under wrong/, one fault each, and the message it must give, which messages.txt has under its name.

A .json beside it is the config.json that the spec is bound to. In a message, … stands for lists that grow with the
vocabulary.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archspec import ArchspecError, load_spec, read_config

WRONG = Path(__file__).parent / "wrong"
BLOCKS = [block.splitlines() for block in (WRONG / "messages.txt").read_text("utf-8").split("\n\n")]
MESSAGES = {name.strip("[]"): lines for name, *lines in BLOCKS}


@pytest.mark.parametrize("path", sorted(WRONG.glob("*.yaml")), ids=lambda path: path.stem)
def test_message(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(WRONG)
    spec, config = Path(path.name), Path(path.name).with_suffix(".json")
    with pytest.raises(ArchspecError) as raised:
        load_spec(spec).bind(read_config(config), source=str(config))
    found = str(raised.value).splitlines()
    expected = MESSAGES[path.stem]
    assert len(found) == len(expected), raised.value
    for line, pattern in zip(found, expected, strict=True):
        assert re.fullmatch(re.escape(pattern).replace("…", ".*"), line), f"{line}\nis not\n{pattern}"


def test_every_expected_message_has_its_spec() -> None:
    assert MESSAGES.keys() == {path.stem for path in WRONG.glob("*.yaml")}


def test_many_faults_are_reported_at_once() -> None:
    with pytest.raises(ArchspecError) as raised:
        load_spec(WRONG / "many_faults.yaml")
    assert [problem.line for problem in raised.value.problems] == [3, 4, 5, 6, 6, 7]
