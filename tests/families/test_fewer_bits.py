"""Families in fewer bits on the CPU; see `covering` for which, and albert, whose layers share their weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.families.built import for_tiny_models
from tests.families.covering import covering
from tests.families.fewer_bits import Wide, check_forms


@pytest.mark.parametrize("family", [*covering(), "albert"])
def test_every_form_is_near_float32(family: str, tmp_path: Path) -> None:
    for_tiny_models()
    wide = Wide(family, tmp_path)
    assert [form for form, _ in check_forms(wide)] == wide.forms()
