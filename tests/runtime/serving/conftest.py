"""A plan with trained weights, its engine, and the backend of its graph for many sequences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from archc.compiler.build import build
from archc.plan.reader import PACKED, Plan
from archc.runtime.backends.ort.backend import OrtBackend
from archc.runtime.backends.prepack import PREPACK_DEFAULT
from archc.runtime.engine import Engine, load

EXAMPLE = Path(__file__).parents[3] / "examples" / "tiny-qwen2"


@pytest.fixture(scope="session")
def trained_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the plan of the example checkpoint; not to be changed."""
    path: Path = build("qwen2", weights=EXAMPLE, out=tmp_path_factory.mktemp("trained") / "engine.plan")
    return path


@pytest.fixture(scope="session")
def trained(trained_path: Path) -> Iterator[Engine]:
    """Return the engine of one sequence at a time."""
    engine = load(trained_path, threads=1)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def packed(trained_path: Path) -> Iterator[OrtBackend]:
    """Return the backend of many sequences."""
    with Plan(trained_path) as plan:
        yield OrtBackend(plan, 1, PREPACK_DEFAULT, PACKED, False)
