"""Work on a file's pieces beside the making of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

_LARGE = 1 << 20  # bytes: a smaller piece is done before a thread has it
_WAITING = 2  # pieces that are held beside the one that is being made


class Lane:
    """One thread that takes pieces in their order.  What it raises comes out of a later call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._worker: ThreadPoolExecutor | None = None
        self._running: deque[Future[object]] = deque()

    def take(self, work: Callable[[memoryview], object], piece: memoryview) -> None:
        """Have `work` done on a piece, which stays as it is from now on; waits while there are two before it."""
        while self._running and (len(self._running) >= _WAITING or self._running[0].done()):
            self._running.popleft().result()
        if len(piece) < _LARGE and not self._running:
            work(piece)
            return
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, self._name)
        self._running.append(self._worker.submit(work, piece))

    def wait(self) -> None:
        """Return when everything is done."""
        while self._running:
            self._running.popleft().result()

    def close(self) -> None:
        """Return when the thread has ended; nothing more can be taken."""
        try:
            self.wait()
        finally:
            if self._worker is not None:
                self._worker.shutdown(cancel_futures=True)
