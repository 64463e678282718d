"""Element types: the plan's name, the ONNX type and the torch dtype of each."""

from __future__ import annotations

from typing import cast

import onnx_ir as ir
import torch
from onnx_ir.tensor_adapters import from_torch_dtype, to_torch_dtype

from archc.plan.dtypes import DTYPES, DTypeName

_NAMES = {dtype.onnx: cast(DTypeName, name) for name, dtype in DTYPES.items()}
# torch has no dtype for these, or none that numpy can view: their bytes are written from another one.
_STORAGE = {ir.DataType.INT4: torch.uint8, ir.DataType.FLOAT8E4M3FN: torch.uint8}


def ir_dtype(name: str) -> ir.DataType:
    """Return the ONNX type of a dtype name of the plan."""
    return ir.DataType(DTYPES[name].onnx)


def dtype_name(dtype: ir.DataType) -> DTypeName:
    """Return the plan's name of an ONNX type."""
    return _NAMES[dtype.value]


def torch_dtype(dtype: str | ir.DataType) -> torch.dtype:
    """Return the torch dtype that computes in an ONNX type, or in a dtype name of the plan."""
    return to_torch_dtype(ir_dtype(dtype) if isinstance(dtype, str) else dtype)


def storage_dtype(dtype: ir.DataType) -> torch.dtype:
    """Return the torch dtype whose bytes are an initializer's; two int4 elements share one byte."""
    return _STORAGE.get(dtype) or to_torch_dtype(dtype)


def torch_name(dtype: torch.dtype) -> DTypeName:
    """Return the plan's name of a torch dtype."""
    return dtype_name(from_torch_dtype(dtype))


TORCH_DTYPES = {name: torch_dtype(name) for name in ("float32", "float16", "bfloat16")}
"""The dtypes that a graph computes in."""
