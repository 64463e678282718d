"""Optimization profiles: the ranges of sizes that an engine supports, and the sizes that its kernels are tuned for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_ir as ir

from archc.plan import Profile
from archc.plan.axes import slots_of
from archc.plan.records import Input, Limits, Output, State

_TYPICAL = 512  # tokens of a prompt, and of the context of a decoding step
Range = tuple[int, int, int]
"""The minimum, optimal and maximum size of an axis."""


def make_profiles(
    inputs: Sequence[Input],
    outputs: Sequence[Output],
    state: Sequence[State],
    limits: Limits,
    batch: int,
    source: int = 0,
    two_tokens: bool = False,
) -> tuple[Profile, ...]:
    """Return a decoder's profiles for prefill and decode, or the only profile of an encoder.

    `batch` is the largest batch size, `source` the longest source of an encoder-decoder; `two_tokens` allows two
    tokens in a decoding step, see `needs_two_tokens`.
    """
    shapes = [*(item.shape for item in inputs), *(item.shape for item in outputs), *(item.shape for item in state)]
    names = {axis for shape in shapes for axis in shape if isinstance(axis, str) and slots_of(axis, 1) is None}
    longest = limits.max_seq_len
    call = min(limits.max_call or longest, longest)
    seq, total = _up_to(call), _up_to(longest)
    shared: dict[str, Range] = {"batch": (1, 1, batch), "total": total, "source": _up_to(max(source, 1))}

    def profile(name: str, seq: Range, asked: Range) -> Profile:
        sizes = {**shared, "seq": seq, "asked": asked}
        return Profile(name=name, axes={axis: sizes[axis] for axis in sorted(names)})

    if not state:
        return (profile("encode", seq, seq),)
    single = (1, 1, 2 if two_tokens else 1)
    return profile("prefill", seq, (1, 1, call)), profile("decode", single, single)


def needs_two_tokens(model: ir.Model) -> bool:
    """Return whether a decoding step must allow two tokens, so that TensorRT does not specialize for one.

    TensorRT's compiler can fail on a loop in which all sizes are fixed. A product of one row dequantizes 8-bit weights
    to memory, all of them in every call, but a product of two rows reads them as they are.
    """
    eight_bits = (ir.DataType.INT8, ir.DataType.FLOAT8E4M3FN)
    return any(
        node.op_type == "Scan"
        or (node.op_type == "DequantizeLinear" and node.inputs[0] is not None and node.inputs[0].dtype in eight_bits)
        for node in model.graph
    )


def _up_to(most: int) -> Range:
    return 1, min(_TYPICAL, most), most


def sizes_of(profile: Profile, shape: Iterable[str | int]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the minimum, optimal and maximum shape of an input."""
    ranges = [(axis, axis, axis) if isinstance(axis, int) else profile.axes[axis] for axis in shape]
    least, typical, most = zip(*ranges, strict=True)
    return least, typical, most
