"""Background work on an entry's bytes: in order, bounded, with the right checksums, and with errors that surface."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import zlib
from functools import partial

import numpy as np
import pytest

from archc.plan import PlanError, PlanWriter, pipeline
from archc.plan.pipeline import BackgroundWorker, EntryStream


@pytest.fixture
def flushed_sizes(monkeypatch):
    """Flush after every 100 bytes; the file sizes at each flush."""
    sizes, fsync = [], os.fsync

    def recorded(descriptor):
        sizes.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(pipeline, "FLUSH_BYTES", 100)
    monkeypatch.setattr(os, "fsync", recorded)
    return sizes


def test_short_and_long_jobs_run_in_order():
    done: list[int] = []
    worker = BackgroundWorker("test")
    for number, is_short in enumerate([False, True, True, False, False, False, True, False, True]):
        worker.submit(partial(done.append, number), is_short)
    worker.close()
    assert done == list(range(9))


def test_short_jobs_run_at_once_on_an_idle_worker():
    threads: list[str] = []
    worker = BackgroundWorker("test")
    for is_short in (True, False):
        worker.submit(lambda: threads.append(threading.current_thread().name), is_short)
        worker.wait()
    worker.close()
    assert threads[0] == threading.current_thread().name
    assert threads[1].startswith("test")


def test_a_third_job_waits_for_the_first():
    gate, begun = threading.Event(), threading.Event()
    done: list[int] = []

    def slow(number: int) -> None:
        begun.set()
        gate.wait(10)
        done.append(number)

    worker = BackgroundWorker("test")
    worker.submit(partial(slow, 1))
    worker.submit(partial(slow, 2))
    assert begun.wait(10)
    assert worker.is_busy
    third = threading.Thread(target=worker.submit, args=(partial(slow, 3),))
    third.start()
    third.join(0.2)
    assert third.is_alive()
    gate.set()
    third.join(10)
    worker.close()
    assert done == [1, 2, 3]
    assert not worker.is_busy


def test_an_error_is_raised_by_a_later_call():
    def fail() -> None:
        raise OSError("refused")

    worker = BackgroundWorker("test")
    worker.submit(fail)
    with pytest.raises(OSError, match="refused"):
        worker.wait()
    worker.submit(fail)
    with pytest.raises(OSError, match="refused"):
        worker.close()


@pytest.mark.parametrize(
    "sizes",
    [(), (0,), (3, 5), (3 << 20, 1, 2 << 20, 2 << 20, 7)],
    ids=["no chunk", "an empty chunk", "small chunks", "large and small chunks"],
)
def test_bytes_and_checksums_are_those_of_all_chunks(sizes, tmp_path):
    rng = np.random.default_rng(0)
    chunks = [rng.bytes(size) for size in sizes]
    whole = b"".join(chunks)
    with (tmp_path / "entry").open("wb") as file:
        stream = EntryStream(file)
        for chunk in chunks:
            assert stream.write(chunk) == len(chunk)
        assert stream.tell() == len(whole)
        assert stream.finish() == (zlib.crc32(whole), hashlib.sha256(whole).hexdigest())
        stream.close()
        stream.close()
    assert (tmp_path / "entry").read_bytes() == whole


def test_large_entries_are_flushed_while_they_are_written(flushed_sizes, tmp_path):
    writer = PlanWriter(tmp_path / "p")
    writer.__enter__()
    with writer.stream("weights.bin") as entry:
        for _ in range(20):
            entry.write(bytes(70_000))
    assert flushed_sizes
    assert flushed_sizes == sorted(flushed_sizes)
    with pytest.raises(PlanError, match="unfinished"):
        writer.__exit__(None, None, None)
    assert not list(tmp_path.iterdir())


def test_a_failing_flush_in_the_background_is_an_error(monkeypatch, tmp_path):
    def refuse(_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(pipeline, "FLUSH_BYTES", 100)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(PlanError, match="the disk is full"), PlanWriter(tmp_path / "p") as writer:
        writer.add("weights.bin", bytes(1000))
    assert not list(tmp_path.iterdir())
