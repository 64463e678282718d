"""The tensors of a format as a plan holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from archc.compiler.contract.dtypes import storage_dtype
from archc.compiler.weights.formats.format import Format
from archc.compiler.weights.group import Group
from archc.compiler.weights.lazy import WeightTensor

Slots = Mapping[str, torch.Tensor]


def written(tensors: Mapping[str, WeightTensor], slots: Slots) -> dict[str, torch.Tensor]:
    """Every tensor's bytes as a build writes them, in its shape; two 4-bit elements stay in one byte."""
    group = Group(list(tensors.values()), slots.__getitem__)
    made = {}
    for role, tensor in tensors.items():
        data = torch.cat([block.reshape(-1) for part in tensor.in_parts() for block in group.blocks(part)])
        assert data.dtype == storage_dtype(tensor.dtype)
        assert data.nbytes == tensor.nbytes
        made[role] = data.reshape(tensor.sizes) if data.numel() == math.prod(tensor.sizes) else data
    return made


def of_matrix(
    chosen: Format, matrix_NK: torch.Tensor, dtype: ir.DataType = ir.DataType.FLOAT
) -> dict[str, torch.Tensor]:
    """The tensors of one matrix."""
    return written(chosen.tensors(WeightTensor("w", matrix_NK.shape, dtype)), {"w": matrix_NK})


def elements(tensor: WeightTensor, data: torch.Tensor) -> NDArray[np.float32]:
    """A tensor's elements, by ONNX's reading of its bytes."""
    raw = data.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    proto = onnx.TensorProto(data_type=int(tensor.dtype), dims=tensor.sizes, raw_data=raw)
    return onnx.numpy_helper.to_array(proto).astype(np.float32)


def matrix(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normally distributed numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
