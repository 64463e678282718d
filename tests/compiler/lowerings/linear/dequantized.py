"""Weights behind a DequantizeLinear, and how near they must be to the numbers of the checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from archc.compiler.lowerings.linear.dequantized import DequantizedWeights
from archc.compiler.weights.formats.symmetric import NumberFormat
from tests.compiler.lowerings.linear.cases import lowered

# Half a step of an integer's scale; half of the last bit of a float8's mantissa, of the largest numbers.
STEPS: list[tuple[NumberFormat, float]] = [("int8", 0.5 / 127), ("int4", 0.5 / 7), ("fp8", 16 / 448)]
KINDS = pytest.mark.parametrize(("kind", "most"), STEPS, ids=["int8", "int4", "fp8"])
EYE = np.eye(64, dtype=np.float32)


def dequantized(graph: ir.Model, kind: NumberFormat) -> ir.Model:
    """The graph with its products and lookups lowered."""
    weights = DequantizedWeights(kind)
    return lowered(graph, weights.linear, weights.lookup)


def check_near(numbers: NDArray[Any], exact: NDArray[Any], axis: int, most: float) -> None:
    """Assert that every weight is within `most` of the largest that may share its scale, and one nearly that far."""
    gap = np.abs(numbers - exact) / np.abs(exact).max(axis=axis, keepdims=True)
    assert gap.max() <= most * (1 + 1e-5)
    assert gap.max() > most * 0.5, "the weights are quantized"
