"""Arrays that a call fills with its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import DTYPES
from archc.plan.records import Output
from archc.runtime.errors import EngineError


def empty_output(output: Output, sizes: Sequence[int]) -> NDArray[Any]:
    """Return an uninitialized array for `output`, whose named axes have `sizes` in this order.

    Raises EngineError for an output with more named axes, or if there is not enough memory.
    """
    named = [axis for axis in output.shape if isinstance(axis, str)]
    if len(named) > len(sizes):
        raise EngineError(
            f"output {output.name!r}: the axis {named[len(sizes)]!r} is not supported; build the plan again"
        )
    remaining = iter(sizes)
    shape = [next(remaining) if isinstance(axis, str) else axis for axis in output.shape]
    try:
        return np.empty(shape, DTYPES[output.dtype].storage)
    except (MemoryError, ValueError):
        raise EngineError(
            f"output {output.name!r}: not enough memory for shape {shape}; use shorter or fewer sequences"
        ) from None
