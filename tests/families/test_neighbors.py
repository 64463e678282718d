"""Logits of a sequence do not depend on later tokens, nor on the other sequences of a batch, in any form of a plan."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archc.compiler.build import build
from archc.compiler.lowerings.linear.two_forms import MANY_ROWS, Int4Products
from archc.compiler.targets import ort_cpu
from archc.runtime.engine import load

TINY = Path(__file__).parents[2] / "examples" / "tiny-qwen2"
PREFIX = [12, 5, 830, 77, 401, 3, 999, 250, 18, 44, 610, 7, 91, 333, 720, 2, 58, 640]
FORMS: dict[str, dict[str, Any]] = {
    "float32": {},
    "int8": {"quantize": "int8"},
    "int4": {"quantize": "int4"},
    "int8-cache": {"kv": "int8"},
    "int4-and-int8-cache": {"quantize": "int4", "kv": "int8"},
}


@pytest.mark.parametrize("form", FORMS)
def test_logits_do_not_depend_on_other_text(form: str, tmp_path: Path) -> None:
    engine = load(build(TINY, out=tmp_path / "engine.plan", **FORMS[form]), threads=1)
    random = np.random.default_rng(0)
    try:
        continued = [
            engine.logits([PREFIX + random.integers(0, 1000, 12).tolist()])[0, : len(PREFIX)] for _ in range(6)
        ]
        alone = engine.logits([PREFIX])[0]
        batch = [PREFIX, *(random.integers(0, 1000, length).tolist() for length in (3, 29, 11))]
        beside = engine.logits(batch)[0, : len(PREFIX)]
    finally:
        engine.close()
    for logits in continued[1:]:
        np.testing.assert_array_equal(logits, continued[0])
    # A kernel may sum in another order for another number of rows.
    np.testing.assert_allclose(continued[0], alone, atol=1e-4)
    np.testing.assert_allclose(beside, alone, atol=1e-4)


def test_a_long_int4_call_depends_on_its_rows_and_not_on_their_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The matrices of this model are too small for two forms.
    monkeypatch.setattr(ort_cpu, "Int4Products", partial(Int4Products, least=1))
    engine = load(build(TINY, out=tmp_path / "engine.plan", quantize="int4"), threads=1)
    random = np.random.default_rng(0)
    beginning = random.integers(0, 1000, 56).tolist()

    def beside(*lengths: int) -> Any:
        others = [random.integers(0, 1000, length).tolist() for length in lengths]
        return engine.logits([beginning, *others])[0, : len(beginning)]

    try:
        few = beside()
        texts = [beginning + random.integers(0, 1000, MANY_ROWS).tolist() for _ in range(2)]
        continued = [engine.logits([text])[0, : len(beginning)] for text in texts]
        batches = [beside(MANY_ROWS, 150) for _ in range(2)]
    finally:
        engine.close()
    np.testing.assert_array_equal(continued[0], continued[1])
    np.testing.assert_array_equal(batches[0], batches[1])
    # Activations have a scale per row in place of one per block.
    for many in (continued[0], batches[0]):
        assert 0 < np.linalg.norm(many - few) / np.linalg.norm(few) < 0.05
