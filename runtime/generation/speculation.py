"""Speculative decoding: proposed tokens are appended together, and kept as far as the sampler chooses the same ones.

Each token is chosen from the logits after the tokens before it, so that greedy output is that without proposals. When
sampling, the distribution is unchanged. A token that was not drawn from a distribution is kept if the sampler draws the
same one, with the random stream that it has without proposals; for a token that a draft plan drew, the rule is that of
`guesses.settle`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from archc.plan.manifest import Manifest
from archc.runtime.errors import PromptError
from archc.runtime.generation.call_costs import COUNTS, CallCosts, Terms
from archc.runtime.generation.guesses import Draft
from archc.runtime.generation.lookup import PromptLookup
from archc.runtime.generation.proposals import Asked, Chances, Proposer
from archc.runtime.generation.sampling import Sampler
from archc.runtime.generation.settings import Settings

Speculate: TypeAlias = int | Literal["auto", "off"]

MOST_AGAIN = 16
"""Tokens to append again beyond which nothing is proposed, so that they do not pile up."""


class Speculator:
    """The proposals for one sequence: `fixed` tokens whenever there are any, or as many as pay by `costs`.

    `most` limits the latter. State that `repeats` cannot take back a part of a call.
    """

    def __init__(
        self,
        chances: Chances,
        proposer: Proposer,
        costs: CallCosts,
        fixed: int | None = None,
        most: int = COUNTS[-1],
        repeats: bool = False,
    ) -> None:
        self._chances, self.proposer, self.costs, self._fixed = chances, proposer, costs, fixed
        self.counts = (*(count for count in COUNTS if count < most), most)
        self.repeats = repeats

    @property
    def fixed(self) -> int | None:
        """Return the number of tokens that is always proposed; None if it is adapted."""
        return self._fixed

    def terms(self, sequences: int, again: int = 0) -> Terms:
        """Return the conditions of a proposal for that many sequences, with `again` tokens to append besides."""
        return Terms(self.counts, again, self.proposer.seconds(sequences), self.repeats)

    def chances(self, tokens: Sequence[int]) -> list[float]:
        """Return the chances of the next proposal, up to the most tokens that are tried."""
        return self._chances.chances(tokens, self.counts[-1])

    def draft(self, sampler: Sampler, most: int, again: int = 0) -> Draft:
        """Return what to append after the last token of a sequence that is computed alone, `most` tokens at most.

        `again` tokens before the last one are appended once more.
        """
        if most <= 0 or again > MOST_AGAIN:
            return ()
        count = self._fixed
        if count is None:
            chances = self.chances(sampler.tokens)
            count = self.costs.best([chances], 1, self.terms(1, again)) if chances else 0
        count = min(count, most)
        return self.proposer.propose({0: Asked(sampler, count)})[0] if count > 0 else ()

    def note(self, proposed: int, accepted: int) -> None:
        """Note how many tokens of the last proposal were chosen."""
        self._chances.note(proposed, accepted)


def open_lookup() -> tuple[Chances, Proposer]:
    """Return prompt lookup for a new sequence."""
    lookup = PromptLookup()
    return lookup, lookup


@dataclass
class Speculation:
    """The part of speculation that the sequences of one engine share; `open_proposer` opens that of one sequence."""

    open_proposer: Callable[[], tuple[Chances, Proposer]] = open_lookup
    most: int = COUNTS[-1]
    repeats: bool = False
    costs: CallCosts = field(default_factory=CallCosts)

    def open(self, speculate: Speculate) -> Speculator | None:
        """Return the speculator of a new sequence; None for `off` or 0."""
        if speculate == "off" or speculate == 0:
            return None
        fixed = None if speculate == "auto" else int(speculate)
        return Speculator(*self.open_proposer(), self.costs, fixed, self.most, self.repeats)


def open_speculation(manifest: Manifest) -> Speculation | None:
    """Return speculation by prompt lookup for a plan; None if it does not support any."""
    return Speculation(repeats=is_replaced(manifest)) if can_speculate(manifest) else None


def check_speculation(settings: Settings, manifest: Manifest, rows: int = 1) -> None:
    """Raise PromptError for a number of proposed tokens that several rows, beams or the plan do not support."""
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

    They cannot if the number of tokens in a call changes the state.
    """
    return manifest.output("next_token") is None and manifest.has_stable_prefixes


def is_replaced(manifest: Manifest) -> bool:
    """Return whether a call replaces some state, so that only a whole call can be taken back."""
    return any(state.kind == "fixed" for state in manifest.state)
