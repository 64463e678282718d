"""Optimization profiles: the sizes that calls may have, and those that kernels are chosen for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_ir as ir

from archc.plan import Profile
from archc.plan.manifest import Input, Limits, Output, State

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
    loose: bool = False,
) -> tuple[Profile, ...]:
    """A decoder's profiles for prompts and for single tokens, or an encoder's only one.

    `batch` is the most rows of a call, `source` the longest source of an encoder-decoder, `loose` whether a second
    token is left open; see `is_loose`.
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
    single = (1, 1, 2 if loose else 1)
    return profile("prefill", seq, (1, 1, call)), profile("decode", single, single)


def is_loose(model: ir.Model) -> bool:
    """Whether TensorRT must not know that a call has one token.

    Its compiler can fail on a loop where every size of a call is known; and for a product of one row it turns weights
    of 8 bits back in memory, all of them at every call, where for two it reads them as they are.
    """
    eight = (ir.DataType.INT8, ir.DataType.FLOAT8E4M3FN)
    return any(
        node.op_type == "Scan"
        or (node.op_type == "DequantizeLinear" and node.inputs[0] is not None and node.inputs[0].dtype in eight)
        for node in model.graph
    )


def _up_to(most: int) -> Range:
    return 1, min(_USUAL, most), most


def sizes_of(profile: Profile, shape: Iterable[str | int]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The least, usual and greatest sizes of one input's axes."""
    ranges = [(axis, axis, axis) if isinstance(axis, int) else profile.axes[axis] for axis in shape]
    least, usual, greatest = zip(*ranges, strict=True)
    return least, usual, greatest
