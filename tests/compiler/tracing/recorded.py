"""One-line components for the tracer's tests: what they read, and their graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archc.compiler.contract.types import TensorType
from archc.compiler.tracing.parts import Part, record
from tests.compiler.graphs import run

Function = Callable[[Mapping[str, Tensor]], Tensor]

INPUTS = {
    "x": TensorType("float32", ("batch", "seq", 8)),
    "ids": TensorType("int64", ("batch", "seq")),
    "mask": TensorType("bool", ("batch", 1, "seq", "total")),
}


def recorded(function: Function) -> ir.Model:
    """The graph of a function of INPUTS."""
    model, _ = record(Part(nn.Module(), lambda tensors: [function(tensors)], INPUTS))
    return model


def example(batch: int, seq: int, total: int) -> dict[str, Tensor]:
    """Random tensors for INPUTS."""
    generator = torch.Generator().manual_seed(batch + seq)
    return {
        "x": torch.randn(batch, seq, 8, generator=generator),
        "ids": torch.randint(0, 4, (batch, seq), generator=generator),
        "mask": torch.rand(batch, 1, seq, total, generator=generator) < 0.5,
    }


def run_on(model: ir.Model, tensors: Mapping[str, Tensor]) -> NDArray[Any]:
    """The one output of a recorded graph; inputs that it does not have are left out."""
    names = {value.name for value in model.graph.inputs}
    (output,) = run(model, {name: tensor.numpy() for name, tensor in tensors.items() if name in names})
    return output


def assert_same_as_torch(function: Function, model: ir.Model, sizes: tuple[int, int, int]) -> None:
    """The graph computes what the function does in torch, at one size of batch, seq and total."""
    tensors = example(*sizes)
    expected = function(tensors).numpy()
    actual = run_on(model, tensors)
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)
