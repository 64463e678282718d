from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from archc.archspec import Spec, load_spec

HERE = Path(__file__).parent
SOUND = HERE / "wrong" / "sound" / "base.yaml"  # a small sound spec, which the wrong ones extend


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a spec that extends the small sound one, beside it."""
    (tmp_path / "base.yaml").write_text(SOUND.read_text())

    def write_spec(text: str, name: str = "spec", extends: str | None = "base") -> Path:
        head = f"family: {name}\n" + (f"extends: {extends}\n" if extends else "")
        path = tmp_path / f"{name}.yaml"
        path.write_text(head + text)
        return path

    return write_spec


@pytest.fixture
def load(write: Callable[..., Path]) -> Callable[..., Spec]:
    """Loads what `write` writes."""

    def load_text(text: str, *overrides: str) -> Spec:
        return load_spec(write(text), overrides)

    return load_text
