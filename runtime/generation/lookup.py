"""Prompt lookup: tokens that followed the latest earlier occurrence of the last n-gram, in the prompt or the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archc.runtime.generation.guesses import Draft, Guess
from archc.runtime.generation.proposals import Asked

_SHORTEST, _LONGER = 2, 3  # tokens of the n-grams in the index
_RATE = 0.1  # of the moving averages
# The chance that the next token continues a match of 2 to 3, 4 to 7, 8 to 15, and 16 or more tokens, at first.
_PRIOR = (0.25, 0.6, 0.8, 0.92)


class PromptLookup:
    """Proposes continuations of one growing sequence; a token costs a few dictionary operations, whatever the length.

    A match is followed while it predicts the next token, so that its length is that of the longest common suffix. The
    chances are averages over matches of similar length in this sequence, and are learned without any call of the model.
    """

    def __init__(self) -> None:
        self._ends: tuple[dict[tuple[int, ...], int], ...] = ({}, {})  # n-gram → index after its latest occurrence
        self._seen = self._length = 0
        self._next = -1  # the index that continues the match; -1 without a match
        self._chances = list(_PRIOR)

    def chances(self, tokens: Sequence[int], count: int) -> list[float]:
        """Return the chance that the first n proposed tokens are right, for n from 1 to `count`; empty without a match.

        `tokens` are those of the earlier calls and more.
        """
        self._update(tokens)
        if self._next < 0:
            return []
        chance, result = 1.0, []
        for index in range(count):
            chance *= self._chances[_kind(self._length + index)]
            result.append(chance)
        return result

    def propose(self, asked: Mapping[int, Asked]) -> dict[int, Draft]:
        """Return the tokens that continue the longest match of the sequence, the only one."""
        return {
            key: [Guess(token) for token in self.following(ask.sampler.tokens, ask.count)] for key, ask in asked.items()
        }

    def seconds(self, sequences: int) -> float:
        """Return 0: a proposal takes a few dictionary operations."""
        return 0.0

    def following(self, tokens: Sequence[int], count: int) -> list[int]:
        """Return `count` tokens that continue the longest match; none without a match.

        A match that overlaps the end is continued as a repetition.
        """
        self._update(tokens)
        if self._next < 0:
            return []
        period = len(tokens) - self._next
        return [tokens[self._next + index % period] for index in range(count)]

    def note(self, proposed: int, accepted: int) -> None:
        """Do nothing: the tokens themselves show how good the matches are."""

    def _update(self, tokens: Sequence[int]) -> None:
        is_answer = self._seen > 0
        for index in range(self._seen, len(tokens)):
            self._append(tokens, index, is_answer)
        self._seen = len(tokens)

    def _append(self, tokens: Sequence[int], index: int, is_answer: bool) -> None:
        if self._next >= 0:
            is_hit = tokens[self._next] == tokens[index]
            if is_answer:
                kind = _kind(self._length)
                self._chances[kind] += _RATE * (is_hit - self._chances[kind])
            self._next, self._length = (self._next + 1, self._length + 1) if is_hit else (-1, 0)
        short = tuple(tokens[max(index + 1 - _SHORTEST, 0) : index + 1])
        long = tuple(tokens[max(index + 1 - _LONGER, 0) : index + 1])
        shorter, longer = self._ends
        if self._next < 0:
            if (end := longer.get(long)) is not None:
                self._next, self._length = end, _LONGER
            elif (end := shorter.get(short)) is not None:
                self._next, self._length = end, _SHORTEST
        if index + 1 >= _SHORTEST:
            shorter[short] = index + 1
        if index + 1 >= _LONGER:
            longer[long] = index + 1


def _kind(length: int) -> int:
    """Return the index of a match's length among the chances."""
    return min(length.bit_length() - 2, len(_PRIOR) - 1)
