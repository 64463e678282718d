from __future__ import annotations

from pathlib import Path

import pytest

from archc.archspec import Spec, load_spec
from tests.archspec.samples import BASE, Load, Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a spec that extends the base spec, into the same folder."""
    (tmp_path / "base.yaml").write_text(BASE.read_text())

    def write_spec(text: str, name: str = "spec", extends: str | None = "base") -> Path:
        head = f"family: {name}\n" + (f"extends: {extends}\n" if extends else "")
        path = tmp_path / f"{name}.yaml"
        path.write_text(head + text)
        return path

    return write_spec


@pytest.fixture
def load(write: Write) -> Load:
    """Loads a spec that extends the base spec."""

    def load_text(text: str, *overrides: str) -> Spec:
        return load_spec(write(text), overrides)

    return load_text
