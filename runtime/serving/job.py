"""One request inside the scheduler: its tokens, its sampler, and what its listener is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from archc.runtime.errors import EngineError
from archc.runtime.generation.guesses import Guess
from archc.runtime.generation.row import FinishReason, Row
from archc.runtime.generation.sampling import Sampler
from archc.runtime.generation.speculation import Speculator
from archc.runtime.serving.logprobs import Floats, Scored, ScoredToken, score_tokens
from archc.runtime.state.encoder import EncodedSource

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Token:
    """A new token: whether it is part of the output, the text that it completes, and log-probabilities if asked for."""

    id: int
    text: str
    is_output: bool
    logprob: float | None = None
    top: tuple[Scored, ...] = ()


@dataclass(frozen=True)
class PromptScores:
    """The tokens of the prompt but the first one, which has no probability; before the first `Token`."""

    tokens: tuple[ScoredToken, ...]


@dataclass(frozen=True)
class Finished:
    """The end of a job: `canceled` after `cancel`, otherwise the reason of the row; `ids` are the whole output."""

    reason: FinishReason | Literal["canceled"]
    ids: tuple[int, ...]
    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True)
class Failed:
    """The end of a job by an error."""

    error: EngineError


Event: TypeAlias = Token | PromptScores | Finished | Failed
Listener: TypeAlias = Callable[[Event], None]
"""Called in the computing thread; must return at once."""


@dataclass(eq=False)
class Job:
    """One sequence to generate. `logprobs` is the number of most likely tokens to report; None reports none.

    With `scores_prompt`, the log-probabilities of the prompt are reported, too; unless `generates`, it ends there.
    """

    prompt: Sequence[int]
    row: Row
    sampler: Sampler
    listener: Listener
    longest: int  # the most tokens of the sequence, the prompt included
    logprobs: int | None = None
    scores_prompt: bool = False
    generates: bool = True
    source: Callable[[], EncodedSource] | None = None
    speculator: Speculator | None = None
    deadline: float | None = None  # of time.monotonic
    keeps_prefix: bool = True
    slot: int | None = None
    done: int = 0  # tokens that the slot has consumed
    again: int = 0  # tokens of the output that it has to consume again
    cached: int = 0
    is_canceled: bool = False
    created: float = field(default_factory=time.monotonic)
    _scores: list[ScoredToken] = field(default_factory=list)

    @property
    def tokens(self) -> Sequence[int]:
        """Return the prompt and the output so far."""
        return self.sampler.tokens

    def is_ended(self, now: float) -> bool:
        """Return whether the job was canceled, or is past its deadline at the time `now` of time.monotonic."""
        return self.is_canceled or (self.deadline is not None and now > self.deadline)

    @property
    def is_prefilling(self) -> bool:
        """Return whether tokens of the prompt are left, besides the last one of a sequence that has an output."""
        return len(self.tokens) - self.done > 1 + self.again or not self.row.ids

    @property
    def waiting(self) -> Sequence[int]:
        """Return the tokens that the slot has not consumed."""
        return self.tokens[self.done :]

    @property
    def is_scoring(self) -> bool:
        """Return whether the logits of all tokens of the prompt are required: not when it is read again."""
        return self.scores_prompt and not self.row.ids

    def cancel(self) -> None:
        """End the job at the next step; may be called in any thread."""
        self.is_canceled = True

    def choose(self, logits: Floats, guess: Guess | None = None) -> None:
        """Choose the next token from float32 [vocab], and tell the listener; `guess` is the proposed one."""
        token = self.sampler.choose(logits, guess)
        is_output, text = self.row.append(token)
        if self.logprobs is None:
            self.listener(Token(token, text, is_output))
            return
        (scored,) = score_tokens(logits[None], np.array([token]), self.logprobs)
        self.listener(Token(token, text, is_output, scored.logprob, scored.top))

    def score(self, logits: Floats) -> None:
        """Score the next tokens of the prompt after `done` of them; float32 [n, vocab] are the logits of n tokens."""
        targets = np.asarray(self.prompt[self.done + 1 : self.done + 1 + len(logits)], np.int64)
        self._scores += score_tokens(logits[: len(targets)], targets, self.logprobs or 0)
        if self.done + len(logits) == len(self.prompt):
            self.listener(PromptScores(tuple(self._scores)))

    def finish(self, reason: FinishReason | Literal["canceled"]) -> None:
        """Tell the listener the end."""
        self._end(Finished(reason, tuple(self.row.ids), len(self.prompt), self.cached))

    def fail(self, error: EngineError) -> None:
        """Tell the listener an error, which ends the job."""
        self._end(Failed(error))

    def _end(self, event: Event) -> None:
        try:
            self.listener(event)
        except Exception:  # the computing thread goes on with the other jobs
            _log.exception("the listener of a request failed")
