"""Speculative decoding: proposed tokens are appended together, and kept as far as the sampler chooses the same ones.

Each token is chosen from the logits after the tokens before it, with the same rules and random stream as without
proposals, so that proposals change no output. For a proposal without probabilities this is the exact rule of
speculative sampling (Leviathan et al. 2023, section 2.3).
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from archc.plan.manifest import Manifest
from archc.runtime.errors import PromptError
from archc.runtime.generation.lookup import PromptLookup
from archc.runtime.generation.settings import Settings

Speculate: TypeAlias = int | Literal["auto", "off"]
COUNTS = (1, 3, 7, 15)
"""Numbers of proposed tokens that are tried."""

MOST_ROWS = 128
"""The most tokens of a call with proposals, so that quantized weights are multiplied in the form of single tokens."""

_MARGIN = 1.05  # expected gain below which nothing is proposed
_KEPT, _STALE = 9, 2048  # measured calls of one size, and calls after which they are forgotten


class Proposer(Protocol):
    """A source of likely next tokens of one sequence."""

    def chances(self, tokens: Sequence[int], count: int) -> list[float]:
        """Return the chance that the first n proposed tokens are right, for n from 1 to `count`, or nothing."""
        ...

    def propose(self, tokens: Sequence[int], count: int) -> list[int]:
        """Return at most `count` tokens after `tokens`, which begin with those of earlier calls."""
        ...

    def note(self, proposed: int, accepted: int) -> None:
        """Note how many tokens of the last proposal were right."""
        ...


@dataclass
class _Calls:
    """Seconds of the latest calls of one size, without the first, which allocates; `last` is the number of the last."""

    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    is_warm: bool = False
    last: int = 0


class CallCosts:
    """Seconds of calls by the number of sequences and of tokens of each, measured while they are made."""

    def __init__(self) -> None:
        self._calls: dict[tuple[int, int], _Calls] = {}
        self._count = 0

    def note(self, sequences: int, width: int, seconds: float) -> None:
        """Note the time of a call of `width` tokens for each of `sequences`."""
        self._count += 1
        calls = self._calls.setdefault((sequences, width), _Calls())
        calls.last = self._count
        if calls.is_warm:
            calls.seconds.append(seconds)
        calls.is_warm = True

    def ratio(self, sequences: int, width: int) -> float:
        """Return the time of a call over that of one token a sequence: measured, or an estimate that permits trials."""
        one, many = self._median(sequences, 1), self._median(sequences, width)
        return many / one if one and many else 1.2 + 0.1 * sequences * (width - 1)

    def best(self, chances: Sequence[Sequence[float]], sequences: int) -> int:
        """Return how many tokens to propose in a call of `sequences`, of which some have `chances`; 0: none pay."""
        best, speed = 0, _MARGIN
        for count in COUNTS if chances else ():
            if sequences * (1 + count) > MOST_ROWS:
                break
            gain = sum(sum(chance[:count]) for chance in chances) / sequences
            if (found := (1 + gain) / self.ratio(sequences, 1 + count)) > speed:
                best, speed = count, found
        return best

    def _median(self, sequences: int, width: int) -> float | None:
        calls = self._calls.get((sequences, width))
        if calls is None or not calls.seconds:
            return None
        if width > 1 and self._count - calls.last > _STALE:
            calls.seconds.clear()
            return None
        return statistics.median(calls.seconds)


class Speculator:
    """The proposals for one sequence: `fixed` tokens whenever there are any, or as many as pay by `costs`."""

    def __init__(self, proposer: Proposer, costs: CallCosts, fixed: int | None = None) -> None:
        self._proposer, self.costs, self._fixed = proposer, costs, fixed

    @property
    def fixed(self) -> int | None:
        """Return the number of tokens that is always proposed; None if it is adapted."""
        return self._fixed

    def chances(self, tokens: Sequence[int]) -> list[float]:
        """Return the chances of the next proposal, up to the most tokens that are tried."""
        return self._proposer.chances(tokens, COUNTS[-1])

    def propose(self, tokens: Sequence[int], count: int) -> list[int]:
        """Return at most `count` tokens that are likely to come next."""
        return self._proposer.propose(tokens, count) if count > 0 else []

    def draft(self, tokens: Sequence[int], most: int) -> list[int]:
        """Return what to append after the last token of a sequence that is computed alone, `most` tokens at most."""
        if most <= 0:
            return []
        if self._fixed is not None:
            return self.propose(tokens, min(self._fixed, most))
        chances = self.chances(tokens)
        return self.propose(tokens, min(self.costs.best([chances], 1), most)) if chances else []

    def note(self, proposed: int, accepted: int) -> None:
        """Note how many tokens of the last proposal were chosen."""
        self._proposer.note(proposed, accepted)


@dataclass
class Speculation:
    """The part of speculation that the sequences of one engine share; `open_proposer` opens that of one sequence."""

    open_proposer: Callable[[], Proposer] = PromptLookup
    costs: CallCosts = field(default_factory=CallCosts)

    def open(self, speculate: Speculate) -> Speculator | None:
        """Return the speculator of a new sequence; None for `off` or 0."""
        if speculate == "off" or speculate == 0:
            return None
        return Speculator(self.open_proposer(), self.costs, None if speculate == "auto" else int(speculate))


def check_speculation(settings: Settings, manifest: Manifest, rows: int = 1) -> None:
    """Raise PromptError for a number of proposed tokens that several rows, beams or the plan's state do not support."""
    if settings.speculate in ("auto", "off", 0):
        return
    if rows > 1 or settings.num_beams > 1:
        raise PromptError("speculate: expected auto or off for several prompts or beams; leave it out")
    if not can_speculate(manifest):
        raise PromptError(
            f"speculate: not supported by {manifest.family} on {manifest.target}, which cannot take tokens back; leave "
            "it out"
        )


def can_speculate(manifest: Manifest) -> bool:
    """Return whether tokens can be taken back, and logits are read on the host.

    They cannot if a call replaces the state, or if the number of tokens in a call changes it.
    """
    has_argmax = manifest.output("next_token") is not None
    is_replaced = any(state.kind == "fixed" for state in manifest.state)
    return not has_argmax and not is_replaced and manifest.has_stable_prefixes
