from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from compiler.build import build
from compiler.passes.dequantized_weights import dequantized_weights
from compiler.passes.fold_weights import fold_weights
from compiler.quantization import Bits
from compiler.signed_integers import Scheme, SignedScales, SignedValues, packed
from compiler.tensorrt.sections import EngineOptions
from compiler.weights import WeightTensor
from runtime.plan import Plan
from tests.compiler.graphs import model, operators, value, weight


def product(slot: str, rows: int, columns: int) -> ir.Model:
    """x · weightᵀ as the compiler writes it."""
    x, matrix = value("x", ir.DataType.FLOAT, "n", columns), weight(slot, rows, columns)
    turned = ir.Node("", "Transpose", [matrix], [ir.AttrInt64s("perm", [1, 0])], name="turn")
    multiplied = ir.Node("", "MatMul", [x, turned.outputs[0]], name="product")
    multiplied.outputs[0].name, multiplied.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    multiplied.outputs[0].shape = ir.Shape(["n", rows])
    made = model([x], [turned, multiplied], multiplied.outputs, [matrix])
    fold_weights(made)
    return made


@pytest.mark.parametrize(("bits", "most"), [(8, 0.5 / 127), (4, 0.5 / 7)])
def test_onnx_runtime_turns_it_back(bits: Bits, most: float) -> None:
    """Every weight is within half a step of its scale's."""
    matrix_NK = torch.randn(6, 64, generator=torch.Generator().manual_seed(1))
    matrix_NK[2] = 0
    graph = product("layers.0.up.weight", 6, 64)
    assert dequantized_weights(bits)(graph) == 1
    assert operators(graph) == ["DequantizeLinear", "MatMul"]
    for item in graph.graph.initializers.values():
        stored = item.const_value
        assert isinstance(stored, WeightTensor)
        kinds = {ir.DataType.INT8: torch.int8, ir.DataType.INT4: torch.uint8, ir.DataType.FLOAT: torch.float32}
        data = torch.cat([part.flatten() for part in stored.blocks(matrix_NK, kinds[stored.dtype])]).numpy().tobytes()
        assert len(data) == stored.nbytes
        proto = onnx.TensorProto(data_type=int(stored.dtype), dims=list(map(int, stored.shape)), raw_data=data)
        item.const_value = ir.serde.deserialize_tensor(proto)
    serialized = ir.serde.serialize_model(graph).SerializeToString()
    session = onnxruntime.InferenceSession(serialized, providers=["CPUExecutionProvider"])
    (back_KN,) = session.run(None, {"x": np.eye(64, dtype=np.float32)})
    wanted_KN = matrix_NK.t().numpy()
    gap = np.abs(back_KN - wanted_KN)
    assert np.all(gap <= most * np.abs(wanted_KN).max(axis=0) * (1 + 1e-5))
    assert gap.max() > most * 0.5, "the weights are quantised"
    assert not back_KN[:, 2].any()


def test_integers_and_scales_by_hand() -> None:
    rows = torch.tensor([[7.0, -3.5, 0.9, 0.0], [0.0, 1.4, -2.8, 2.8]])
    scheme = Scheme(4, 2)
    torch.testing.assert_close(scheme.scales(rows, torch.float32), torch.tensor([[1.0, 0.9 / 7], [0.2, 0.4]]))
    assert scheme.integers(rows, torch.float32).tolist() == [[7, -4, 7, 0], [0, 7, -7, 7]]
    assert packed(torch.tensor([[7, -4], [-1, 1]], dtype=torch.int8)).tolist() == [[0xC7], [0x1F]]
    whole = Scheme(8, None)
    torch.testing.assert_close(whole.scales(rows, torch.float32), torch.tensor([[7 / 127], [2.8 / 127]]))


def test_scales_are_those_of_the_graph_s_dtype() -> None:
    matrix = WeightTensor("w", (2, 64), ir.DataType.FLOAT16)
    scheme = Scheme(8, None)
    value_NK = torch.full((2, 64), 0.1)
    (scales,) = SignedScales(matrix, scheme).blocks(value_NK, torch.float16)
    (integers,) = SignedValues(matrix, scheme).blocks(value_NK, torch.int8)
    assert scales.dtype == torch.float16
    torch.testing.assert_close(integers.float() * scales.float(), value_NK.t(), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("slot", "rows", "columns", "bits"),
    [("layers.0.mlp.router.projection.weight", 6, 64, 8), ("w", 6, 20, 4), ("w", 5, 64, 4)],
)
def test_what_has_no_such_form_stays(slot: str, rows: int, columns: int, bits: Bits) -> None:
    kept = product(slot, rows, columns)
    assert dequantized_weights(bits)(kept) == 0
    assert operators(kept) == ["MatMul"]


@pytest.mark.parametrize(("bits", "kind"), [("int8", "int8"), ("int4", "int4")])
def test_an_engine_with_them_builds(bits: str, kind: str, tmp_path: Path) -> None:
    sizes = ["d_model=32", "d_ff=48", "num_layers=1", "num_heads=2", "vocab_size=60", "context_length=64"]
    options = EngineOptions(compute_capabilities=("8.9",), keep_graph=True)
    out = tmp_path / "engine.plan"
    build("small-lm", random=1, out=out, target="tensorrt-rtx", quantize=bits, engine=options, overrides=sizes)
    with Plan(out) as plan:
        assert (plan.manifest.quantization, plan.manifest.dtype) == (bits, "float16")
        stored = [tensor.dtype for tensor in plan.manifest.tensors]
        assert stored.count(kind) >= 7
        graph = onnx.load_model_from_string(plan.read("model.onnx"))
        assert [node.op_type for node in graph.graph.node].count("DequantizeLinear") == stored.count(kind)
