"""Speculation with a draft plan: its choice of how many tokens to propose, and its state for one sequence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from archc.plan.manifest import Manifest
from archc.plan.reader import Plan
from archc.runtime.errors import EngineError
from archc.runtime.generation.draft_check import check_draft
from archc.runtime.generation.draft_plan import Drafter
from archc.runtime.generation.options import MOST_PROPOSED
from archc.runtime.generation.sampling import Floats
from archc.runtime.generation.sequences import Checkpoint, Sequences
from archc.runtime.generation.speculation import Speculation, is_replaced

DRAFT_TOKENS = 7
"""The most tokens that a draft plan proposes, unless an option says otherwise."""

_RATE = 0.05  # of the moving average
_PRIOR = 0.7  # the chance that a proposed token is right, at first


class AcceptanceRate:
    """The chance that a proposed token is right if those before it are: a moving average."""

    def __init__(self) -> None:
        self._rate = _PRIOR

    def chances(self, tokens: Sequence[int], count: int) -> list[float]:
        """Return the chance that the first n proposed tokens are right, for n from 1 to `count`."""
        return [self._rate**length for length in range(1, count + 1)]

    def note(self, proposed: int, accepted: int) -> None:
        """Note how many tokens of the last proposal were right; those after a wrong one are no evidence."""
        for is_right in [True] * accepted + [False] * (accepted < proposed):
            self._rate += _RATE * (is_right - self._rate)


class OneSequence:
    """The state of a draft plan for one sequence; `open_sequences` returns a new one."""

    def __init__(self, open_sequences: Callable[[], Sequences]) -> None:
        self._open = open_sequences
        self._sequences = open_sequences()

    def clear(self, key: int) -> None:
        """Begin a new sequence."""
        if self._sequences.lengths.any():
            self._sequences = self._open()

    def rewind(self, key: int, count: int) -> None:
        """Take back the last `count` tokens."""
        self._sequences.rewind(count)

    def save(self, key: int) -> Checkpoint:
        """Return a copy of the state that each call replaces."""
        return self._sequences.checkpoint()

    def load(self, key: int, saved: Checkpoint) -> None:
        """Return to a saved state."""
        self._sequences.restore(saved)

    def append(self, ids: Mapping[int, Sequence[int]]) -> Mapping[int, Floats]:
        """Append tokens, and return the logits after them."""
        return {key: self._sequences.append([new])[0] for key, new in ids.items()}

    def read(self, key: int, ids: Sequence[int]) -> int:
        """Append all tokens."""
        self._sequences.append([ids], logits="none")
        return len(ids)


def draft_speculation(manifest: Manifest, open_drafter: Callable[[], Drafter], most: int) -> Speculation:
    """Return speculation of a plan with proposals of up to `most` tokens by a drafter for each sequence, or for all.

    Raises EngineError for a number that is not supported.
    """
    if not 1 <= most <= MOST_PROPOSED:
        raise EngineError(f"draft_tokens: expected a number from 1 to {MOST_PROPOSED}, got {most}")
    return Speculation(lambda: (AcceptanceRate(), open_drafter()), most, is_replaced(manifest))


def speculation_by(draft: Plan, open_sequences: Callable[[], Sequences], plan: Plan, most: int) -> Speculation:
    """Return speculation of single sequences of `plan` by a draft plan, whose state is that of new sequences.

    Raises EngineError unless both are decoders with the same vocabulary.
    """
    check_draft(plan, draft)
    ends = plan.manifest.tokens.eos
    return draft_speculation(plan.manifest, lambda: Drafter(draft.manifest, OneSequence(open_sequences), ends), most)
