"""Stop strings in streamed text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress


class StopMatcher:
    """Finds the first stop string in text that arrives in pieces, and holds back text that may begin one.

    Hidden text, such as that of special tokens, is matched but not returned.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self._shown: list[bool] = []  # of each character that is held back
        self.stopped = False
        self.released = 0  # characters, shown or hidden, that certainly precede any stop string

    def push(self, text: str, shown: bool = True) -> str:
        """Return the shown text that certainly precedes any stop string; set `stopped` if one is complete."""
        if self.stopped:
            return ""
        self._held += text
        self._shown += [shown] * len(text)
        held = self._held
        matches = [at for at in map(held.find, self._stops) if at >= 0]
        if matches:
            self.stopped = True
            certain = self._release(min(matches))
            self._held, self._shown = "", []
            return certain
        keep = next(
            (n for n in range(min(self._longest - 1, len(held)), 0, -1) if self._may_begin(held[len(held) - n :])), 0
        )
        return self._release(len(held) - keep)

    def completes(self, text: str) -> bool:
        """Return whether `text` completes a stop string."""
        return any(stop in self._held + text for stop in self._stops)

    def flush(self) -> str:
        """Return the shown text that is held back, at the end of the stream."""
        return self._release(len(self._held))

    def _release(self, count: int) -> str:
        text = "".join(compress(self._held[:count], self._shown))
        self._held, self._shown = self._held[count:], self._shown[count:]
        self.released += count
        return text

    def _may_begin(self, tail: str) -> bool:
        return any(len(tail) < len(stop) and stop.startswith(tail) for stop in self._stops)
