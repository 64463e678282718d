"""Incremental detokenization: text of token ids that arrive one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_REPLACEMENT = "\ufffd"
_MAX_HELD = 16  # tokens; a character has at most four bytes, so more unfinished tokens are not part of one
_MAX_WITHOUT_TEXT = 64  # tokens, such as special ones; bounds the ids that are decoded again


class Detokenizer:
    """Converts token ids to text, and holds back bytes that may become a complete character."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        # Ids of [_context, _emitted) are decoded again, because the text of a token may depend on the previous one.
        self._context = self._emitted = 0
        self._context_text = ""

    def push(self, token: int) -> str:
        """Return the text that `token` completes; may be empty."""
        self._ids.append(token)
        text = self._decode(self._ids[self._context :])
        if text.endswith(_REPLACEMENT) and len(self._ids) - self._emitted < _MAX_HELD:
            return ""
        return self._emit(text)

    def flush(self) -> str:
        """Return the text that is held back, at the end of the stream."""
        return self._emit(self._decode(self._ids[self._context :]))

    def _emit(self, text: str) -> str:
        piece = text[len(self._context_text) :]
        if piece:
            self._context, self._emitted = self._emitted, len(self._ids)
            self._context_text = self._decode(self._ids[self._context :])
        elif len(self._ids) - self._context > _MAX_WITHOUT_TEXT:
            self._context = self._emitted = len(self._ids)
            self._context_text = ""
        return piece
