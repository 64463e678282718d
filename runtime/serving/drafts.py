"""Proposed tokens of the sequences of one call."""

from __future__ import annotations

from collections.abc import Mapping

from archc.runtime.generation.speculation import MOST_ROWS
from archc.runtime.serving.job import Job
from archc.runtime.serving.slots import Slots


def propose_drafts(slots: Slots, steps: Mapping[int, Job]) -> dict[int, list[int]]:
    """Return the tokens to append after the next one of each slot, for those with a proposal that pays.

    All rows of a call have the width of the widest, so that jobs without a number of their own share one number.
    """
    jobs = {slot: job for slot, job in steps.items() if job.speculator is not None and _room(slots, slot, job) > 0}
    if not jobs:
        return {}
    chances = {slot: job.speculator.chances(job.tokens) for slot, job in jobs.items() if job.speculator is not None}
    adapted = [slot for slot, job in jobs.items() if job.speculator is not None and job.speculator.fixed is None]
    shared = 0
    if costs := next((job.speculator.costs for job in jobs.values() if job.speculator is not None), None):
        shared = costs.best([chances[slot] for slot in adapted if chances[slot]], len(steps))
    drafts: dict[int, list[int]] = {}
    for slot, job in jobs.items():
        speculator = job.speculator
        assert speculator is not None
        count = shared if speculator.fixed is None else speculator.fixed
        count = min(count, _room(slots, slot, job), MOST_ROWS // len(steps) - 1)
        if draft := speculator.propose(job.tokens, count):
            drafts[slot] = draft
    # The padding of the other rows requires slots as well.
    width = 1 + max(map(len, drafts.values()), default=0)
    longest = max(slots.length(slot) for slot in steps) + width
    return drafts if slots.states.can_reserve(longest) else {}


def _room(slots: Slots, slot: int, job: Job) -> int:
    """Return the most tokens that may be proposed: the last one of the budget is chosen, but not appended."""
    return min(slots.longest_draft(slot), job.row.left - 1)
