"""A plan's bytes go to the disk while more are written."""

from __future__ import annotations

import errno
import os

import pytest

from archc.plan import PlanWriter, flushing
from archc.runtime import PlanError


@pytest.fixture
def flushed(monkeypatch):
    """Flushes after every 100 bytes, and the sizes that the file had."""
    sizes, flush = [], os.fsync

    def watched(handle):
        sizes.append(os.fstat(handle).st_size)
        flush(handle)

    monkeypatch.setattr(flushing, "_STRETCH", 100)
    monkeypatch.setattr(os, "fsync", watched)
    return sizes


def test_large_entries_are_flushed_as_they_are_written(flushed, tmp_path):
    writer = PlanWriter(tmp_path / "p")
    writer.__enter__()
    with writer.stream("weights.bin") as entry:
        for _ in range(20):
            entry.write(bytes(70_000))
    assert flushed
    assert flushed == sorted(flushed)
    with pytest.raises(PlanError, match="not finished"):
        writer.__exit__(None, None, None)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_refuses_in_between_is_an_error(monkeypatch, tmp_path):
    def refuse(_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(flushing, "_STRETCH", 100)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(PlanError, match="the disk is full"), PlanWriter(tmp_path / "p") as writer:
        writer.add("weights.bin", bytes(1000))
    assert not list(tmp_path.iterdir())
