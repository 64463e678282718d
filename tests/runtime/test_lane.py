"""Work beside: in order, bounded, and loud."""

from __future__ import annotations

import threading

import pytest

from archc.plan import lane
from archc.plan.lane import Lane


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(lane, "_LARGE", 4)


def test_large_and_small_pieces_keep_their_order():
    taken: list[bytes] = []
    work = Lane("test")
    pieces = [bytes([number]) * size for number, size in enumerate([9, 1, 1, 9, 9, 9, 2, 9, 1])]
    for piece in pieces:
        work.take(lambda view: taken.append(bytes(view)), memoryview(piece))
    work.close()
    assert taken == pieces


def test_no_more_than_two_wait():
    gate, begun = threading.Event(), threading.Event()
    done: list[int] = []

    def slow(piece: memoryview) -> None:
        begun.set()
        gate.wait(10)
        done.append(len(piece))

    work = Lane("test")
    work.take(slow, memoryview(bytes(5)))
    work.take(slow, memoryview(bytes(6)))
    assert begun.wait(10)
    third = threading.Thread(target=work.take, args=(slow, memoryview(bytes(7))))
    third.start()
    third.join(0.2)
    assert third.is_alive()
    gate.set()
    third.join(10)
    work.close()
    assert done == [5, 6, 7]


def test_a_failure_comes_out_of_a_later_call():
    def fail(_: memoryview) -> None:
        raise OSError("refused")

    work = Lane("test")
    work.take(fail, memoryview(bytes(9)))
    with pytest.raises(OSError, match="refused"):
        work.wait()
    work.close()
