"""Initializers of integer products that a runtime may replace, by name, for processors without exact int8 kernels.

x86 without VNNI adds pairs of products of uint8 and int8 in 16 bits: two of 255 · 127 saturate. Stored int8 weights
then become uint8, whose kernel is exact, and activations next to computed int8 operands get 7 bits: two products of
127 · 127 fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from archc.plan.records import Tensor

WEIGHT_SUFFIX = ".channel"
"""The end of the names of int8 weights that integer products alone read."""

WEIGHT_ZERO = "integers.weight.zero"
"""The zero point of these weights."""

ROW_STEP, ROW_ZERO = "integers.row.step", "integers.row.zero"
"""Quantization of rows of magnitude one, next to a computed int8 operand."""

SHARE_STEP = "integers.share.step"
"""Quantization with zero point 0 of numbers from 0 to 1, next to a computed int8 operand."""

SIGN = 0x80
"""The bit by which int8 and uint8 with zero point 128 differ."""

FULL: Mapping[str, NDArray[np.generic]] = {
    WEIGHT_ZERO: np.array(0, np.int8),
    ROW_STEP: np.array(1 / 127, np.float32),
    ROW_ZERO: np.array(128, np.uint8),
    SHARE_STEP: np.array(1 / 255, np.float32),
}
"""The values in a plan."""

WITHOUT_VNNI: Mapping[str, NDArray[np.generic]] = {
    WEIGHT_ZERO: np.array(SIGN, np.uint8),
    ROW_STEP: np.array(1 / 63, np.float32),
    ROW_ZERO: np.array(64, np.uint8),
    SHARE_STEP: np.array(1 / 127, np.float32),
}
"""The values with uint8 weights and 7-bit activations."""


def weights_of(tensors: Iterable[Tensor]) -> frozenset[str]:
    """Return the names of the stored int8 weights of integer products."""
    return frozenset(item.name for item in tensors if item.dtype == "int8" and item.name.endswith(WEIGHT_SUFFIX))


@dataclass(frozen=True)
class Replacements:
    """The form of a graph's integer products without VNNI; `found` collects the stored weights that became uint8."""

    weights: frozenset[str]
    found: set[str] = field(default_factory=set)
