"""Two hundred tokens of an encoder-decoder in calls of one, of seven and of random sizes; the encoder runs once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from archc.proof.built import Built, use_one_thread
from archc.proof.checks import TOLERANCE, append_all, difference, padded, reference_outputs
from tests.families.collection import cases_of

TOKENS = 200
# A table of position biases that all layers share, and one in every layer.
CASES = [("t5", "1.0"), ("umt5", "published")]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    use_one_thread()
    family, name = request.param
    (case,) = (case for case in cases_of(family) if case.name == name)
    long_case = Built(family, case, tmp_path_factory.mktemp(f"{family}-{name}"))
    yield long_case
    long_case.close()


def sizes_of_calls(size: int | None) -> list[int]:
    """Return calls of one size, the last one shorter, or for None of random sizes."""
    if size is None:
        cuts = np.sort(np.random.default_rng(5).choice(np.arange(1, TOKENS), size=17, replace=False))
        return np.diff([0, *cuts, TOKENS]).tolist()
    return [size] * (TOKENS // size) + [TOKENS % size] * bool(TOKENS % size)


@pytest.mark.parametrize("size", [1, 7, None], ids=["ones", "sevens", "random"])
def test_calls_of_any_size_equal_one_run(built: Built, size: int | None) -> None:
    ids, sources = built.ids(2, TOKENS, with_lead=False), built.sources(2, 31)
    assert sources is not None
    sources[1] = sources[1][:11]
    logits = append_all(built.engine.sequences(2, 2, padded(sources)), ids, sizes_of_calls(size))
    for row, source in enumerate(sources):
        alone = reference_outputs(built, [ids[row]], None, [source])["logits"][0]
        assert difference(logits[row], alone) < TOLERANCE
