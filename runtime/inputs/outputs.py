"""Arrays that a call fills with its outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import DTYPES
from archc.plan.records import Output
from archc.runtime.errors import EngineError


class ReusedOutput:
    """Memory that every call fills with an output, which lasts until the next call.

    New memory costs a page fault for every 4 KB: for the logits of eight sequences, a tenth of a call's time. Arrays of
    more than `most` rows, such as the logits of a whole prompt, are not kept.
    """

    def __init__(self, output: Output, most: int) -> None:
        self.output, self.most = output, most
        self._values = np.zeros(0, DTYPES[output.dtype].storage)

    def array(self, sizes: Sequence[int]) -> NDArray[Any]:
        """Return the array of the next call, with the arguments and errors of `empty_output`."""
        if math.prod(sizes) > self.most:
            return empty_output(self.output, sizes)
        shape = output_shape(self.output, sizes)
        count = math.prod(shape)
        if count > len(self._values):
            self._values = empty_output(self.output, sizes).reshape(-1)
        return self._values[:count].reshape(shape)


def output_shape(output: Output, sizes: Sequence[int]) -> list[int]:
    """Return the shape of `output`, whose named axes have `sizes` in this order; EngineError if it has more."""
    named = [axis for axis in output.shape if isinstance(axis, str)]
    if len(named) > len(sizes):
        raise EngineError(
            f"output {output.name!r}: the axis {named[len(sizes)]!r} is not supported; build the plan again"
        )
    remaining = iter(sizes)
    return [next(remaining) if isinstance(axis, str) else axis for axis in output.shape]


def empty_output(output: Output, sizes: Sequence[int]) -> NDArray[Any]:
    """Return an uninitialized array for `output`, whose named axes have `sizes` in this order.

    Raises EngineError for an output with more named axes, or if there is not enough memory.
    """
    shape = output_shape(output, sizes)
    try:
        return np.empty(shape, DTYPES[output.dtype].storage)
    except (MemoryError, ValueError):
        raise EngineError(
            f"output {output.name!r}: not enough memory for shape {shape}; use shorter or fewer sequences"
        ) from None
