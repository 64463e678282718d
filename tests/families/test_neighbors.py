"""Logits of a sequence do not depend on later tokens, nor on the other sequences of a batch, in any form of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archc.compiler.build import build
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
