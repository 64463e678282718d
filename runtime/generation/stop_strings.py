"""Stop strings in streamed text."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Finds the first stop string in text that arrives in pieces, and holds back text that may begin one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Return the text that certainly precedes any stop string; set `stopped` if one is complete."""
        if self.stopped:
            return ""
        held = self._held + text
        matches = [at for at in map(held.find, self._stops) if at >= 0]
        if matches:
            self.stopped, self._held = True, ""
            return held[: min(matches)]
        keep = next(
            (n for n in range(min(self._longest - 1, len(held)), 0, -1) if self._may_begin(held[len(held) - n :])), 0
        )
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def flush(self) -> str:
        """Return the text that is held back, at the end of the stream."""
        held, self._held = self._held, ""
        return held

    def _may_begin(self, tail: str) -> bool:
        return any(len(tail) < len(stop) and stop.startswith(tail) for stop in self._stops)
