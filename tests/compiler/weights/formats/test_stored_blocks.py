"""int4 blocks as they are stored: the layout that MatMulNBits reads, zero points included."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import helper

from archc.compiler.weights.formats.stored_blocks import StoredBlocks, StoredGroups
from archc.compiler.weights.lazy import JoinedRows, WeightTensor
from archc.compiler.weights.steps import Transpose


def weight(rows: int, columns: int, slot: str = "a.weight") -> WeightTensor:
    return WeightTensor(slot, (rows, columns), ir.DataType.FLOAT)


def product(stored: StoredBlocks, rows: torch.Tensor, x: np.ndarray) -> np.ndarray:
    """x · Wᵀ by ONNX Runtime's kernel in float32, with the parts of the format."""
    count = rows.shape[0]
    columns = x.shape[1]
    parts = {role: values.numpy() for role, values in stored.quantize(rows, torch.float32).items()}
    shapes = {role: part.shape(count) for role, part in stored.parts(weight(count, columns)).items()}
    initializers = [onnx.numpy_helper.from_array(values.reshape(shapes[role]), role) for role, values in parts.items()]
    node = helper.make_node(
        "MatMulNBits",
        ["x", "integers", "scales", *(["zeros"] if "zeros" in parts else [])],
        ["y"],
        domain="com.microsoft",
        K=columns,
        N=count,
        bits=4,
        block_size=stored.block,
        accuracy_level=1,
    )
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], initializers)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": x})[0]
    return result


@pytest.mark.parametrize("group", [16, 32, 64, 128, 192, 256])
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
def test_the_kernel_reads_integers_scales_and_zero_points(group: int, symmetric: bool) -> None:
    """Three groups of a row: an odd number of zero points where a block is a group."""
    random = torch.Generator().manual_seed(group)
    count, columns, groups = 24, 3 * group, 3
    integers = torch.randint(0, 16, (count, columns), generator=random).float()
    scales = torch.rand(count, groups, generator=random) + 0.5
    zeros = torch.full((count, groups), 8.0)
    if not symmetric:
        zeros = torch.randint(0, 16, (count, groups), generator=random).float()
    found = StoredBlocks.of(weight(count, columns), lambda slot: StoredGroups(group, torch.float16, symmetric))
    assert found is not None
    x = torch.randn(5, columns, generator=random).numpy()
    values = (integers - zeros.repeat_interleave(group, 1)) * scales.repeat_interleave(group, 1)
    result = product(found, torch.cat((integers, scales, zeros), 1), x)
    np.testing.assert_allclose(result, x @ values.numpy().T, rtol=1e-4, atol=1e-3)


FLOAT = StoredGroups(32, torch.float32, symmetric=True)


@pytest.mark.parametrize(
    ("stored", "columns", "dtype"),
    [
        pytest.param(None, 64, ir.DataType.FLOAT, id="not-stored"),
        pytest.param(FLOAT, 48, ir.DataType.FLOAT, id="columns-are-no-multiple"),
        pytest.param(StoredGroups(24, torch.float32, True), 48, ir.DataType.FLOAT, id="no-block-divides-a-group"),
        pytest.param(FLOAT, 64, ir.DataType.FLOAT16, id="scales-would-be-rounded"),
        pytest.param(StoredGroups(32, torch.float16, True), 64, ir.DataType.BFLOAT16, id="scales-of-other-16-bits"),
    ],
)
def test_weights_that_blocks_cannot_hold(stored: StoredGroups | None, columns: int, dtype: ir.DataType) -> None:
    assert StoredBlocks.of(WeightTensor("a", (8, columns), dtype), lambda slot: stored) is None


def test_joined_rows_have_the_groups_of_all() -> None:
    joined = JoinedRows([weight(8, 64, "q.weight"), weight(4, 64, "k.weight")])
    asymmetric = {"q.weight": FLOAT, "k.weight": StoredGroups(32, torch.float32, symmetric=False)}
    found = StoredBlocks.of(joined, asymmetric.get)
    assert found is not None
    assert not found.symmetric
    assert StoredBlocks.of(joined, {"q.weight": FLOAT}.get) is None
    other = {"q.weight": FLOAT, "k.weight": StoredGroups(64, torch.float32, symmetric=True)}
    assert StoredBlocks.of(joined, other.get) is None
    assert StoredBlocks.of(weight(8, 64).then(Transpose()), lambda slot: FLOAT) is None
