"""One row of a batch during generation: new token ids, streamed text, and the condition that ends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from archc.runtime.generation.stop_strings import StopMatcher
from archc.runtime.text.detokenizer import Detokenizer

FinishReason = Literal["eos", "stop", "length"]


class Row:
    """A row with a budget of new tokens; without a detokenizer it has no text and no stop strings."""

    def __init__(
        self,
        budget: int,
        eos: frozenset[int],
        stop_ids: frozenset[int],
        detokenizer: Detokenizer | None = None,
        stop_strings: Sequence[str] = (),
    ) -> None:
        self._budget, self._eos, self._stop_ids = budget, eos, stop_ids
        self._detokenizer, self._matcher = detokenizer, StopMatcher(stop_strings)
        self._decoded = 0  # characters from the detokenizer so far
        self._ends: list[int] = []  # value of _decoded after each token
        self.ids: list[int] = []
        self.finish_reason: FinishReason | None = None

    @property
    def left(self) -> int:
        """Return how many more tokens fit the budget."""
        return self._budget - len(self.ids)

    def append(self, token: int) -> tuple[bool, str]:
        """Append a chosen token; return whether it is part of the output, and the new text.

        An end token is not part of the output. A token that completes a stop string is, until it is removed again.
        """
        if token in self._eos or token in self._stop_ids:
            self.finish_reason = "eos" if token in self._eos else "stop"
            return False, self._flush()
        self.ids.append(token)
        text = ""
        if self._detokenizer is not None:
            text = self._match(self._detokenizer.push(token))
            text += self._match_hidden(self._detokenizer, token)
        self._ends.append(self._decoded)
        if self._matcher.stopped:
            self._remove_stopped()
        elif len(self.ids) == self._budget:
            self.finish_reason = "length"
            text += self._flush()
        return True, text

    def _match(self, text: str, shown: bool = True) -> str:
        self._decoded += len(text)
        return self._matcher.push(text, shown)

    def _match_hidden(self, detokenizer: Detokenizer, token: int) -> str:
        """Match a special token, which is no text of the output, but may be spelled by a stop string."""
        hidden, text = detokenizer.hidden(token), ""
        if hidden and self._matcher.completes(hidden):
            text = self._match(detokenizer.flush())  # bytes that precede the special token
            if self._ends:
                self._ends[-1] = self._decoded
        return text + self._match(hidden, shown=False)

    def _flush(self) -> str:
        """Return the text that was held back, which may still complete a stop string."""
        if self._detokenizer is None:
            return ""
        text = self._match(self._detokenizer.flush())
        if self._matcher.stopped:
            if self._ends:
                self._ends[-1] = self._decoded
            self._remove_stopped()
            return text
        return text + self._matcher.flush()

    def _remove_stopped(self) -> None:
        """Remove the tokens without text before the stop string."""
        self.finish_reason = "stop"
        keep = next(count for count, end in enumerate([0, *self._ends]) if end >= self._matcher.released)
        del self.ids[keep:]
