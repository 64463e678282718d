"""Additive masks: one for each mask, bias and dtype, and finite."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.lowerings.attention.masks import AdditiveMasks
from tests.compiler.graphs import build, run, value
from tests.compiler.lowerings.attention.problems import BOOL, FLOAT, FLOAT16


@pytest.mark.parametrize("dtype", [FLOAT, FLOAT16], ids=["float32", "float16"])
def test_a_masked_key_has_the_lowest_finite_number(dtype: ir.DataType) -> None:
    mask, bias = value("mask", BOOL, 1, 1, "seq", "total"), value("bias", dtype, 1, 2, 1, "total")

    def make(op: GraphBuilder) -> list[ir.Value]:
        masks = AdditiveMasks()
        return [masks.additive(op, mask, None, dtype), masks.additive(op, mask, bias, dtype)]

    attended = np.array([[True, False], [True, True]])
    numbers = np.array([[1.0, 2.0], [3.0, 4.0]], dtype.numpy())
    zero, biased = run(build([mask, bias], make), {"mask": attended[None, None], "bias": numbers[None, :, None]})
    lowest = np.finfo(dtype.numpy()).min
    np.testing.assert_array_equal(zero[0, 0], [[0, lowest], [0, 0]])
    np.testing.assert_array_equal(biased[0], [[[1, lowest], [1, 2]], [[3, lowest], [3, 4]]])
    assert zero.dtype == biased.dtype == dtype.numpy()


def test_equal_requests_share_one_mask_and_different_ones_do_not() -> None:
    masks, other = (value(name, BOOL, 1, 1, "seq", "total") for name in ("mask", "other"))
    biases = [value(name, FLOAT, 1, 2, 1, "total") for name in ("first", "second")]
    op = GraphBuilder(ir.Graph([masks, other, *biases], [], nodes=[], name="test"), "masks")
    additive = AdditiveMasks()
    requests = [(masks, None, FLOAT), (other, None, FLOAT), (masks, None, FLOAT16)]
    requests += [(masks, bias, FLOAT) for bias in biases]
    first = [additive.additive(op, *request) for request in requests]
    assert len(set(first)) == len(requests)
    assert [additive.additive(op, *request) for request in requests] == first
