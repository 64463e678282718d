"""The table of element types compared with onnx, numpy, ONNX Runtime and TensorRT."""

from __future__ import annotations

import typing

import numpy as np
import onnxruntime
import pytest
import tensorrt_rtx
from onnx import TensorProto, helper

from archc.plan.dtypes import DTYPES, DTypeName, to_float32


@pytest.mark.parametrize("name", DTYPES)
def test_numbers_and_names_are_those_of_onnx(name):
    dtype = DTYPES[name]
    assert dtype.name == name
    assert TensorProto.DataType.Value(dtype.onnx_name) == dtype.onnx
    value = onnxruntime.OrtValue.ortvalue_from_shape_and_type([2], dtype.onnx, "cpu", 0)
    assert value.data_type() == dtype.ort


@pytest.mark.parametrize("name", DTYPES)
def test_the_storage_type_holds_the_bits(name):
    dtype, numpy_type = DTYPES[name], helper.tensor_dtype_to_np_dtype(DTYPES[name].onnx)
    if numpy_type.kind in "fiub" and numpy_type.type.__module__ == "numpy":
        assert dtype.storage == numpy_type
    assert dtype.storage.itemsize * 8 == max(dtype.bits, 8)
    assert dtype.nbytes(3) == -(-3 * dtype.bits // 8)


def test_names_of_tensorrt_exist():
    names = {dtype.tensorrt for dtype in DTYPES.values() if dtype.tensorrt is not None}
    assert names <= set(tensorrt_rtx.DataType.__members__)
    assert {"FLOAT", "HALF", "BF16", "INT64", "BOOL"} <= names


def test_the_manifest_accepts_the_names_of_the_table():
    assert list(typing.get_args(DTypeName)) == list(DTYPES)


def test_bfloat16_is_converted_by_its_bits():
    assert to_float32(np.array([0x3F80, 0xC040], np.uint16), "bfloat16").tolist() == [1.0, -3.0]
    assert to_float32(np.array([1.5], np.float16), "float16").dtype == np.float32
