"""Prefix-LM prompts: position ids, and the visible keys of the prompt."""

from __future__ import annotations

import numpy as np
import pytest

from archc.plan import Mask, Prefix
from archc.runtime.errors import PromptError
from archc.runtime.inputs.masks import build_mask
from archc.runtime.inputs.prefix_lm import PrefixTracker

END, GAP, SPAN = 9, 7, 8
PREFIX = Prefix(end=END, blanks=(GAP, SPAN))


def rows(*ids: list[int]) -> np.ndarray:
    width = max(map(len, ids))
    return np.array([row + [-1] * (width - len(row)) for row in ids], np.int64)


def test_places_of_a_prompt_and_its_answer() -> None:
    tracker = PrefixTracker(PREFIX, 2)
    tracker.add(rows([1, GAP, 2, END, 3], [SPAN, END]), np.zeros(2, np.int64))
    assert tracker.lengths.tolist() == [3, 1]
    text, block = tracker.positions(np.zeros(2, np.int64), 5).swapaxes(0, 1)
    assert text.tolist() == [[0, 1, 2, 1, 1], [0, 0, 0, 0, 0]]
    assert block.tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]


def test_places_go_on_in_the_next_call() -> None:
    tracker = PrefixTracker(PREFIX, 1)
    tracker.add(rows([1, GAP, END]), np.array([0]))
    tracker.add(rows([END]), np.array([3]))  # an end token in the answer begins nothing
    assert tracker.positions(np.array([3]), 2).tolist() == [[[1, 1], [2, 3]]]


def test_the_first_kind_of_blank_wins() -> None:
    tracker = PrefixTracker(PREFIX, 1)
    tracker.add(rows([SPAN, GAP, END, GAP]), np.array([0]))
    assert tracker.blanks.tolist() == [1]


@pytest.mark.parametrize(
    "ids", [[1, 2, 3], [1, END, GAP], [GAP, 1]], ids=["neither token", "blank after the end", "no end token"]
)
def test_a_prompt_without_its_marks_is_refused(ids: list[int]) -> None:
    with pytest.raises(PromptError, match=r"row 0: token .* not found; append the whole prompt"):
        PrefixTracker(PREFIX, 1).add(rows(ids), np.array([0]))


def test_the_prompt_is_seen_by_all() -> None:
    seen = build_mask(Mask(kind="prefix"), np.array([0, 0]), np.array([4, 4]), 4, 4, np.array([2, 0]))
    assert seen[0, 0].astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert seen[1, 0].tolist() == np.tri(4, dtype=bool).tolist()
