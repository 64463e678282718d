"""Every kind of state through a long sequence: taken in by calls of any size, it gives what one full run gives."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.families.built import Built, one_thread
from tests.families.checks import TOLERANCE, append_all, difference
from tests.families.collection import cases_of

LENGTH = 200
# A case for each kind of state: its family and its name.
LONG = [
    ("deepseek-v2", "groups"),  # a latent cache
]


@pytest.fixture(scope="module", params=LONG, ids=lambda pair: "-".join(pair))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    one_thread()
    family, name = request.param
    (case,) = (case for case in cases_of(family) if case.name == name)
    made = Built(family, case, tmp_path_factory.mktemp(f"{family}-{name}"))
    yield made
    made.close()


def steps(size: int | None) -> list[int]:
    """Calls of one size, the last one shorter; or of random sizes."""
    if size is None:
        cuts = np.sort(np.random.default_rng(5).choice(np.arange(1, LENGTH), size=17, replace=False))
        return np.diff([0, *cuts, LENGTH]).tolist()
    return [size] * (LENGTH // size) + [LENGTH % size] * bool(LENGTH % size)


@pytest.mark.parametrize("size", [1, 7, None], ids=["ones", "sevens", "random"])
def test_calls_of_any_size_give_what_one_run_gives(built: Built, size: int | None) -> None:
    ids = built.ids(1, LENGTH)[0]
    got = append_all(built.engine.sequences(1, 2), [ids], steps(size))[0]
    assert difference(got, built.reference.outputs([ids])["logits"][0]) < TOLERANCE
