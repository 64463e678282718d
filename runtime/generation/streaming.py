"""Text that arrives token by token: whole characters, and stop strings that lie across tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_REPLACEMENT = "\ufffd"
_MOST_HELD = 16  # tokens; a character has four bytes, so more than a few unfinished tokens are not a character
_MOST_SILENT = 64  # tokens; special ones have no text, and should not be decoded again for ever


class TextStream:
    """Turns ids into text as they come, and holds back what might still become a character."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._context = (
            0  # ids from here to _told are decoded again, for tokenizers that mark a word by what precedes it
        )
        self._told = 0
        self._before = ""

    def push(self, token: int) -> str:
        """Return the text that `token` completes, perhaps none."""
        self._ids.append(token)
        text = self._decode(self._ids[self._context :])
        if text.endswith(_REPLACEMENT) and len(self._ids) - self._told < _MOST_HELD:
            return ""
        return self._tell(text)

    def flush(self) -> str:
        """Return what is still held back, at the end."""
        return self._tell(self._decode(self._ids[self._context :]))

    def _tell(self, text: str) -> str:
        piece = text[len(self._before) :]
        if piece:
            self._context, self._told = self._told, len(self._ids)
            self._before = self._decode(self._ids[self._context :])
        elif len(self._ids) - self._context > _MOST_SILENT:
            self._context = self._told = len(self._ids)
            self._before = ""
        return piece


class StopMatcher:
    """Finds the first stop string in text that comes in pieces, and holds back what may be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Return the text that is certainly before any stop string; `stopped` then says whether one was found."""
        if self.stopped:
            return ""
        held = self._held + text
        found = [at for at in map(held.find, self._stops) if at >= 0]
        if found:
            self.stopped, self._held = True, ""
            return held[: min(found)]
        keep = next(
            (n for n in range(min(self._longest - 1, len(held)), 0, -1) if self._may_begin(held[len(held) - n :])), 0
        )
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def flush(self) -> str:
        """Return what is still held back, at the end."""
        held, self._held = self._held, ""
        return held

    def _may_begin(self, tail: str) -> bool:
        return any(len(tail) < len(stop) and stop.startswith(tail) for stop in self._stops)
