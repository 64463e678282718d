"""The steps of an entry for one slot: for its expert and its rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from archc.archspec.vocabulary.verbs import (
    Deinterleave,
    Normalize,
    Permute,
    Reshape,
    Select,
    Split,
    Stack,
    Step,
    Transpose,
    Unstack,
)


def bind_unstack(steps: Iterable[Step], expert: int | None) -> Iterator[Step]:
    """Yield the steps with Unstack as a Select of the expert's index.

    A Reshape of [experts * out, in] to [experts, out, in] before it makes it a Split, which reads only these rows.
    """
    pending: Reshape | None = None
    for step in steps:
        if isinstance(step, Unstack) and pending is not None:
            count, rows = pending.shape[:2]
            yield Split(parts=(rows,) * count, groups=1, axis=0, take=expert or 0)
            pending = None
        elif isinstance(step, Unstack):
            yield Select(axis=0, index=(expert or 0,))
        else:
            if pending is not None:
                yield pending
            pending = step if isinstance(step, Reshape) else None
            if pending is None:
                yield step
    if pending is not None:
        yield pending


def for_rank(steps: tuple[Step, ...], rank: int) -> Iterator[Step]:
    """Yield the steps that apply to tensors of a slot's rank; before a Stack, tensors have one axis less.

    A Reshape is for one tensor only, so all steps of its entry apply unchanged.
    """
    if any(isinstance(step, Reshape) for step in steps):
        yield from steps
        return
    stacks = [index for index, step in enumerate(steps) if isinstance(step, Stack)]
    for index, step in enumerate(steps):
        if isinstance(step, Stack | Unstack | Deinterleave) or rank - any(index < stack for stack in stacks) > 1:
            yield step
        elif not isinstance(step, Transpose | Permute | Select | Normalize):
            yield step.model_copy(update={"axis": 0})
