"""A draft plan: a smaller model of the same vocabulary, whose tokens the larger one verifies."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from archc.plan.manifest import Manifest
from archc.runtime.errors import PromptError
from archc.runtime.generation.call_costs import CallCosts
from archc.runtime.generation.guesses import Draft, Guess
from archc.runtime.generation.proposals import Asked
from archc.runtime.generation.sampling import Floats, Sampler
from archc.runtime.generation.speculation import is_replaced
from archc.runtime.inputs.prompts import common_prefix

LAG = 8
"""Tokens that a proposal may be behind; a longer distance is read by pieces first."""


class DraftStates(Protocol):
    """The state of a draft plan for several sequences, by key."""

    def clear(self, key: int) -> None:
        """Begin a new sequence."""
        ...

    def rewind(self, key: int, count: int) -> None:
        """Take back the last `count` tokens, where states are indexed by position."""
        ...

    def save(self, key: int) -> Any:
        """Return a copy of the state that each call replaces."""
        ...

    def load(self, key: int, saved: Any) -> None:
        """Return to a state that `save` returned, once."""
        ...

    def append(self, ids: Mapping[int, Sequence[int]]) -> Mapping[int, Floats]:
        """Append tokens, and return the logits after them, float32 [vocab]; nothing for sequences without memory."""
        ...

    def read(self, key: int, ids: Sequence[int]) -> int:
        """Append the first tokens of a long text without logits, and return their number."""
        ...


@dataclass
class _Known:
    """The tokens that the state of a sequence has; the first `certain` of them are those of `owner`, a sampler.

    `floor` is the length that the sequence may return to, and `saved` the state there if it cannot be rewound.
    """

    tokens: list[int] = field(default_factory=list)
    owner: Sampler | None = None
    certain: int = 0
    floor: int = 0
    saved: Any = None


class Drafter:
    """Proposes tokens of a draft plan, of which `manifest` and `states` are.

    Each token is a call, of all sequences that propose one more. A token of `ends` is the last one of a proposal.
    """

    def __init__(self, manifest: Manifest, states: DraftStates, ends: Collection[int]) -> None:
        self._states, self._limits = states, manifest.limits
        self._ends = frozenset(ends)
        self._is_replaced = is_replaced(manifest)
        self._has_rings = any(state.kind == "ring" for state in manifest.state)
        self._known: dict[int, _Known] = {}
        self._costs = CallCosts()

    def seconds(self, sequences: int) -> float:
        """Return the median time of a call of one token for each sequence; 0 before it is known."""
        return self._costs.seconds(sequences, 1) or 0.0

    def propose(self, asked: Mapping[int, Asked]) -> dict[int, Draft]:
        """Return a proposal for each sequence; none while the plan has to read a long text first."""
        drafts: dict[int, list[Guess]] = {key: [] for key in asked}
        ready = {key: ask for key, ask in asked.items() if self._catch_up(key, ask)}
        forks = {key: ask.sampler.fork() for key, ask in ready.items()}
        ids = {key: list(ask.sampler.tokens[len(self._known[key].tokens) :]) for key, ask in ready.items()}
        is_first = True
        while ids:
            logits = self._append(ids)
            for key in logits if is_first else ():
                self._mark(key)
            is_first = False
            guesses = {key: guess for key in logits if (guess := _guess(forks[key], logits[key])) is not None}
            for key, guess in guesses.items():
                drafts[key].append(guess)
            ids = {
                key: [guess.token]
                for key, guess in guesses.items()
                if len(drafts[key]) < asked[key].count
                and self._room(key) > 0
                and (guess.token not in self._ends or forks[key].ignores_ends)
            }
        return dict(drafts)

    def _catch_up(self, key: int, ask: Asked) -> bool:
        """Bring the state of a sequence to its tokens but the last ones; return whether it is there."""
        tokens, known = ask.sampler.tokens, self._known.setdefault(key, _Known())
        certain = known.certain if known.owner is ask.sampler else 0
        shared = min(certain + common_prefix(known.tokens[certain:], tokens[certain:]), len(tokens) - 1)
        self._return(key, known, shared, len(tokens))
        known.owner, known.certain = ask.sampler, len(known.tokens)
        left = len(tokens) - len(known.tokens)
        if left > LAG and left <= self._room(key, is_certain=True):
            known.tokens += tokens[len(known.tokens) :][: self._states.read(key, tokens[len(known.tokens) : -1])]
            known.floor, known.certain = len(known.tokens), len(known.tokens)
            left = len(tokens) - len(known.tokens)
        return left <= min(LAG, self._room(key))

    def _return(self, key: int, known: _Known, length: int, total: int) -> None:
        """Return a sequence to its first `length` tokens or fewer, of a text of `total`."""
        now, past = len(known.tokens), self._limits.reread_past
        is_fixed_below = length < known.floor and (self._is_replaced or self._has_rings)
        if not length or is_fixed_below or (past is not None and now <= past < total):
            self._states.clear(key)
            known.tokens, known.floor, known.saved = [], 0, None
        elif length < now and self._is_replaced:
            self._states.load(key, known.saved)
            del known.tokens[known.floor :]
            known.saved = None
        elif length < now:
            self._states.rewind(key, now - length)
            del known.tokens[length:]

    def _mark(self, key: int) -> None:
        """Note that all tokens of a sequence are certain, and those that follow are not."""
        known = self._known[key]
        known.floor = known.certain = len(known.tokens)
        if self._is_replaced:
            known.saved = self._states.save(key)

    def _room(self, key: int, is_certain: bool = False) -> int:
        """Return how many more tokens a sequence may have, and lose again unless they are certain.

        A sequence that is read again from its beginning past some length (LongRoPE) has tokens up to that length.
        """
        known, past, most = self._known[key], self._limits.reread_past, self._limits.max_call
        now = len(known.tokens)
        limit = past if past is not None and 0 < now <= past else self._limits.max_seq_len
        if self._has_rings and not is_certain:
            assert most is not None
            limit = min(limit, known.floor + most - LAG)  # padding is written behind the tokens, too
        return limit - now

    def _append(self, ids: Mapping[int, Sequence[int]]) -> Mapping[int, Floats]:
        begin = time.perf_counter()
        logits = self._states.append(ids)
        self._costs.note(len(ids), max(map(len, ids.values())), time.perf_counter() - begin)
        for key in logits:
            self._known[key].tokens += ids[key]
        return logits


def _guess(sampler: Sampler, logits: Floats) -> Guess | None:
    """Return a choice; None if rules or a constraint leave none, which ends a proposal and not the output."""
    try:
        return sampler.guess(logits)
    except PromptError:
        return None
