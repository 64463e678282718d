"""Two hundred tokens of an answer by calls of one, of seven and of random sizes, over sources that are read once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.families.built import Built, for_tiny_models
from tests.families.checks import TOLERANCE, append_all, difference, expected, padded
from tests.families.collection import cases_of

TOKENS = 200
# A table of position biases that all layers share, and one in every layer.
ANSWERING = [("t5", "1.0"), ("umt5", "published")]


@pytest.fixture(scope="module", params=ANSWERING, ids="-".join)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    for_tiny_models()
    family, name = request.param
    (case,) = (case for case in cases_of(family) if case.name == name)
    made = Built(family, case, tmp_path_factory.mktemp(f"{family}-{name}"))
    yield made
    made.close()


def sizes_of_calls(size: int | None) -> list[int]:
    """Calls of one size, the last one shorter; or of random sizes."""
    if size is None:
        cuts = np.sort(np.random.default_rng(5).choice(np.arange(1, TOKENS), size=17, replace=False))
        return np.diff([0, *cuts, TOKENS]).tolist()
    return [size] * (TOKENS // size) + [TOKENS % size] * bool(TOKENS % size)


@pytest.mark.parametrize("size", [1, 7, None], ids=["ones", "sevens", "random"])
def test_calls_of_any_size_give_what_one_run_gives(built: Built, size: int | None) -> None:
    ids, sources = built.ids(2, TOKENS, begin=False), built.sources(2, 31)
    assert sources is not None
    sources[1] = sources[1][:11]
    got = append_all(built.engine.sequences(2, 2, padded(sources)), ids, sizes_of_calls(size))
    for row, source in enumerate(sources):
        wanted = expected(built, [ids[row]], None, [source])["logits"][0]
        assert difference(got[row], wanted) < TOLERANCE
