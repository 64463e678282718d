"""Optimization profiles: the sizes that calls may have, and those that kernels are chosen for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runtime.plan import Profile
from runtime.plan.manifest import Input, Limits, Output, State

CAPACITY = "capacity"
_USUAL = 512  # tokens of a prompt, and of what a decoding step looks back to
Range = tuple[int, int, int]


def make_profiles(
    inputs: Sequence[Input],
    outputs: Sequence[Output],
    state: Sequence[State],
    limits: Limits,
    batch: int,
    source: int = 0,
    loops: bool = False,
) -> tuple[Profile, ...]:
    """A decoder's profiles for prompts and for single tokens, or an encoder's only one.

    `batch` is the most rows of a call, `source` the longest source of an encoder-decoder, `loops` whether the graph
    repeats a body: TensorRT's compiler can fail on a loop where every size of a call is known, so that a second token
    is left open.
    """
    shapes = [*(item.shape for item in inputs), *(item.shape for item in outputs), *(item.shape for item in state)]
    names = {axis for shape in shapes for axis in shape if isinstance(axis, str)} - {CAPACITY}
    longest = limits.max_seq_len
    call = min(limits.max_call or longest, longest)
    seq, total = _up_to(call), _up_to(longest)
    shared: dict[str, Range] = {"batch": (1, 1, batch), "total": total, "source": _up_to(max(source, 1))}

    def profile(name: str, seq: Range, asked: Range) -> Profile:
        sizes = {**shared, "seq": seq, "asked": asked}
        return Profile(name=name, axes={axis: sizes[axis] for axis in sorted(names)})

    if not state:
        return (profile("encode", seq, seq),)
    return profile("prefill", seq, (1, 1, call)), profile("decode", (1, 1, 2 if loops else 1), (1, 1, 1))


def _up_to(most: int) -> Range:
    return 1, min(_USUAL, most), most


def sizes_of(profile: Profile, shape: Iterable[str | int]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The least, usual and greatest sizes of one input's axes."""
    ranges = [(axis, axis, axis) if isinstance(axis, int) else profile.axes[axis] for axis in shape]
    least, usual, greatest = zip(*ranges, strict=True)
    return least, usual, greatest
