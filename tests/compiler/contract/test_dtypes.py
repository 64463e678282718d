"""Element types: the names of the plan, of ONNX and of torch for each."""

from __future__ import annotations

import onnx_ir as ir
import pytest
import torch

from archc.compiler.contract.dtypes import dtype_name, ir_dtype, storage_dtype, torch_dtype
from archc.plan.dtypes import DTYPES


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_of_a_plan_is_an_onnx_type_of_the_same_width(name: str) -> None:
    dtype = ir_dtype(name)
    assert dtype_name(dtype) == name
    assert dtype.bitwidth == DTYPES[name].bits


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("float32", torch.float32), ("float16", torch.float16), ("bfloat16", torch.bfloat16), ("int64", torch.int64)],
    ids=["float32", "float16", "bfloat16", "int64"],
)
def test_torch_computes_in_a_dtype_by_either_name(name: str, dtype: torch.dtype) -> None:
    assert torch_dtype(name) == torch_dtype(ir_dtype(name)) == storage_dtype(ir_dtype(name)) == dtype


def test_bytes_that_torch_cannot_view_are_stored_as_uint8() -> None:
    assert [storage_dtype(dtype) for dtype in (ir.DataType.INT4, ir.DataType.FLOAT8E4M3FN)] == [torch.uint8] * 2
    assert torch_dtype("float8e4m3fn") == torch.float8_e4m3fn
