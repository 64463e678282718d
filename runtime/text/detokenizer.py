"""Incremental detokenization: text of token ids that arrive one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

_REPLACEMENT = "\ufffd"
_MAX_HELD = 16  # tokens; a character has at most four bytes, so more unfinished tokens are not part of one
_MAX_WITHOUT_TEXT = 64  # tokens, such as special ones; bounds the ids that are decoded again


class Detokenizer:
    """Converts token ids to text, and holds back bytes that may become a complete character.

    The pieces after `prompt` join to the text of prompt and new ids without that of the prompt. `hidden` has the text
    of the special tokens that `decode` skips.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        prompt: Sequence[int] = (),
        hidden: Mapping[int, str] | None = None,
    ) -> None:
        self._decode, self._hidden = decode, hidden or {}
        # Ids of [_context, _emitted) are decoded again, because the text of a token may depend on the previous one.
        self._ids = _context(decode, prompt)
        self._context, self._emitted = 0, len(self._ids)
        self._context_text = decode(self._ids) if self._ids else ""

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

    def hidden(self, token: int) -> str:
        """Return the text of a special token, which `push` leaves out; empty for any other token."""
        return self._hidden.get(token, "")

    def _emit(self, text: str) -> str:
        before = len(self._context_text)
        if self._context_text.endswith(_REPLACEMENT):  # bytes that the new tokens may have completed
            before = _common_prefix(self._context_text, text)
        piece = text[before:]
        if piece:
            last, self._emitted = self._emitted, len(self._ids)
            self._context_text = self._decode(self._ids[last:])
            # Decoders strip spaces at the beginning, so a context of spaces alone has too few of them.
            if not self._context_text.strip() and self._emitted - self._context <= _MAX_WITHOUT_TEXT:
                self._context_text = text
            else:
                self._context = last
        elif len(self._ids) - self._emitted > _MAX_WITHOUT_TEXT:
            del self._ids[self._emitted :]
        return piece


def _context(decode: Callable[[Sequence[int]], str], prompt: Sequence[int]) -> list[int]:
    """Return the last ids of the prompt, enough for whole characters and the space before the next word."""
    count = _MAX_HELD
    while count < len(prompt):
        text = decode(prompt[-count:])
        if text and not text.startswith(_REPLACEMENT):
            return list(prompt[-count:])
        count *= 2
    return list(prompt)


def _common_prefix(a: str, b: str) -> int:
    """Return the number of equal characters at the beginning."""
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
