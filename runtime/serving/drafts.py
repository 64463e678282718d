"""Proposed tokens of the sequences of one call."""

from __future__ import annotations

from collections.abc import Mapping

from archc.runtime.generation.call_costs import MOST_ROWS
from archc.runtime.generation.guesses import Draft
from archc.runtime.generation.proposals import Asked, Proposer
from archc.runtime.generation.speculation import MOST_AGAIN, Speculator
from archc.runtime.serving.job import Job
from archc.runtime.serving.slots import Slots


def propose_drafts(slots: Slots, steps: Mapping[int, Job]) -> dict[int, Draft]:
    """Return the tokens to append after the next one of each slot, for those with a proposal that pays.

    All rows of a call have the width of the widest, so that jobs without a number of their own share one number.
    """
    members = {
        slot: (job, job.speculator)
        for slot, job in steps.items()
        if job.speculator is not None and _room(slots, slot, job) > 0
    }
    if not members:
        return {}
    shared = _shared_count([pair for pair in members.values() if pair[1].fixed is None], steps)
    groups: dict[
        int, tuple[Proposer, dict[int, Asked]]
    ] = {}  # by identity: sequences of one source are computed together
    for slot, (job, speculator) in members.items():
        count = shared if speculator.fixed is None else speculator.fixed
        count = min(count, _room(slots, slot, job), MOST_ROWS // len(steps) - 1)
        if count > 0:
            _, asked = groups.setdefault(id(speculator.proposer), (speculator.proposer, {}))
            asked[slot] = Asked(job.sampler, count)
    found = [pair for proposer, asked in groups.values() for pair in proposer.propose(asked).items()]
    drafts = {slot: draft for slot, draft in found if draft}
    # The padding of the other rows requires slots as well.
    width = max((len(job.waiting) + len(drafts.get(slot, ())) for slot, job in steps.items()), default=0)
    longest = max(slots.length(slot) for slot in steps) + width
    return drafts if slots.states.can_reserve(longest) else {}


def _shared_count(members: list[tuple[Job, Speculator]], steps: Mapping[int, Job]) -> int:
    """Return how many tokens pay, if all sequences with chances propose as many."""
    chances = [found for job, speculator in members if (found := speculator.chances(job.tokens))]
    if not chances:
        return 0
    _, speculator = members[0]
    again = max(len(job.waiting) - 1 for job in steps.values())
    return speculator.costs.best(chances, len(steps), speculator.terms(len(steps), again))


def _room(slots: Slots, slot: int, job: Job) -> int:
    """Return the most tokens that may be proposed: the last one of the budget is chosen, but not appended."""
    again = len(job.waiting) - 1
    return min(slots.longest_draft(slot) - again, job.row.left - 1) if again <= MOST_AGAIN else 0
