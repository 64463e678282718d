"""Damaged tokenizers, adapters and settings: they are read, or refused by one error, in bounded time and memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.compiler.mutated_folders import KINDS, Kind
from tests.compiler.mutation import bounded_memory, mutated, refusal


@pytest.mark.parametrize(
    "count", [pytest.param(100, id="100"), pytest.param(10_000, id="10000", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_only_clear_errors(kind: Kind, count: int, tmp_path: Path) -> None:
    draw, count = random.Random(29), count if kind.fast else count // 5
    files = [(path, path.read_bytes()) for path in kind.write(tmp_path)]
    assert refusal(lambda: kind.read(tmp_path)) is None
    messages = []
    with bounded_memory():
        for _ in range(count):
            path, data = draw.choice(files)
            path.write_bytes(mutated(data, draw))
            messages.append(refusal(lambda: kind.read(tmp_path)))
            path.write_bytes(data)
    refused = [message for message in messages if message is not None]
    assert 0 < len(refused) < count
    assert len(set(refused)) > (3 if kind.fast else 0)
