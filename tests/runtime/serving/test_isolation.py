"""Two users share no text: the same schedule with other neighbors changes no bit of a user's logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archc.compiler.build import build
from archc.plan.reader import PACKED, Plan
from archc.runtime.backends.ort.backend import OrtBackend
from archc.runtime.backends.prepack import PREPACK_DEFAULT
from archc.runtime.serving.slots import Floats, Piece, Slots
from tests.runtime.serving.conftest import EXAMPLE

COUNT, VOCAB = 4, 1000


@dataclass(frozen=True)
class Act:
    """One call: slots that step with their numbers of tokens, a piece, and then tokens that slots take back."""

    steps: dict[int, int]
    piece: tuple[int, int] | None = None
    taken_back: int = 0
    begins: int | None = None  # a slot whose sequence ends before, so that another user has it


_SLOT = st.integers(0, COUNT - 1)
_ACTS = st.builds(
    Act,
    st.dictionaries(_SLOT, st.integers(1, 5), max_size=COUNT),
    st.none() | st.tuples(_SLOT, st.integers(1, 12)),
    st.integers(0, 4),
    st.none() | _SLOT,
)


@pytest.fixture(scope="module", params=["float32", "int8", "int4"])
def new_slots(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Slots]]:
    quantize = None if request.param == "float32" else request.param
    path: Path = build("qwen2", EXAMPLE, out=tmp_path_factory.mktemp("stored") / "a.plan", quantize=quantize)
    with Plan(path) as plan:
        backend = OrtBackend(plan, 1, PREPACK_DEFAULT, PACKED, False)
        yield lambda: Slots(plan.manifest, backend, COUNT)


def logits_of(slots: Slots, acts: list[Act], user: int, neighbors: int) -> list[Floats]:
    """Return the logits of the slot `user`, whose tokens do not depend on the seed of its neighbors' tokens."""
    own, others = np.random.default_rng(0), np.random.default_rng([1, neighbors])
    found = list[Floats]()

    def tokens(slot: int, count: int) -> list[int]:
        ids: list[int] = (own if slot == user else others).integers(0, VOCAB, count).tolist()
        return ids

    def begin(slot: int) -> None:
        slots.clear(slot)
        note(slots.run({}, Piece(slot, tokens(slot, 3))))

    def note(logits: Mapping[int, Floats]) -> None:
        if user in logits:
            found.append(logits[user])

    for slot in range(COUNT):
        begin(slot)
    for act in acts:
        if act.begins is not None:
            begin(act.begins)
        steps = {slot: tokens(slot, count) for slot, count in act.steps.items()}
        piece = None
        if act.piece is not None and act.piece[0] not in steps:
            piece = Piece(act.piece[0], tokens(*act.piece), "all")
        note(slots.run(steps, piece))
        for slot, ids in steps.items():
            slots.rewind(slot, min(act.taken_back, len(ids) - 1))
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(_ACTS, min_size=4, max_size=12), user=_SLOT)
def test_the_tokens_of_neighbors_change_no_bit(new_slots: Callable[[], Slots], acts: list[Act], user: int) -> None:
    # From the same order of rows, because the last of an odd number of rows is summed in another order in int4.
    first, second = (logits_of(new_slots(), acts, user, seed) for seed in (1, 2))
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
