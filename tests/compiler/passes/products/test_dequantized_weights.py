from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt.plan import rebuild
from archc.compiler.output.tensorrt.sections import EngineOptions
from archc.compiler.passes.products.dequantized_weights import dequantized_weights
from archc.compiler.passes.products.fold_weights import fold_weights
from archc.compiler.weights.lazy import StackedWeight, Transposed, WeightTensor
from archc.compiler.weights.symmetric import Form, Scheme, SignedMatrix, SignedScales, SignedValues, packed
from archc.plan import Plan
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


def shared_table(rows: int, columns: int) -> ir.Model:
    """Rows looked up by id, and all of them multiplied by x, as a tied head is written."""
    ids, x = value("ids", ir.DataType.INT64, "n"), value("x", ir.DataType.FLOAT, "m", columns)
    table = weight("table", rows, columns)
    look_up = ir.Node("", "Gather", [table, ids], [ir.AttrInt64("axis", 0)], name="look_up")
    logits = ir.Node("", "Gemm", [x, table], [ir.AttrInt64("transB", 1)], name="logits")
    for node, shape in ((look_up, ["n", columns]), (logits, ["m", rows])):
        node.outputs[0].name, node.outputs[0].type = node.name, ir.TensorType(ir.DataType.FLOAT)
        node.outputs[0].shape = ir.Shape(shape)
    return model([ids, x], [look_up, logits], [*look_up.outputs, *logits.outputs], [table])


def stacked(count: int, rows: int, columns: int) -> ir.Model:
    """x · each of a stack of transposed matrices."""
    x = value("x", ir.DataType.FLOAT, 1, "n", columns)
    slots = [f"experts.{index}.up" for index in range(count)]
    tensor = StackedWeight("experts.up", slots, (count, rows, columns), ir.DataType.FLOAT).then(Transposed())
    kind = ir.TensorType(ir.DataType.FLOAT)
    stack = ir.Value(name=tensor.name, shape=tensor.shape, type=kind, const_value=tensor)
    multiplied = ir.Node("", "MatMul", [x, stack], name="product")
    multiplied.outputs[0].name, multiplied.outputs[0].type = "y", kind
    multiplied.outputs[0].shape = ir.Shape([count, "n", rows])
    return model([x], [multiplied], multiplied.outputs, [stack])


def turned_back(graph: ir.Model, slots: dict[str, torch.Tensor], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime makes of a graph whose weights are these slots'."""
    for item in graph.graph.initializers.values():
        stored = item.const_value
        if not isinstance(stored, WeightTensor):
            continue
        kind = torch.float32 if stored.dtype == ir.DataType.FLOAT else torch.int8
        blocks = [block for part in stored.in_parts() for block in part.blocks(slots[part.slot], kind)]
        data = b"".join(block.contiguous().numpy().tobytes() for block in blocks)
        assert len(data) == stored.nbytes
        proto = onnx.TensorProto(data_type=int(stored.dtype), dims=list(map(int, stored.shape)), raw_data=data)
        item.const_value = ir.serde.deserialize_tensor(proto)
    serialized = ir.serde.serialize_model(graph).SerializeToString()
    session = onnxruntime.InferenceSession(serialized, providers=["CPUExecutionProvider"])
    results: list[np.ndarray] = session.run(None, feeds)
    return results


# Half a step of an integer's scale; half of the last bit of a float8's mantissa, of the largest numbers.
STEPS: list[tuple[Form, float]] = [("int8", 0.5 / 127), ("int4", 0.5 / 7), ("fp8", 16 / 448)]
EVERY_FORM = pytest.mark.parametrize(("form", "most"), STEPS)


def near(back: np.ndarray, wanted: np.ndarray, axis: int, most: float) -> None:
    """Every weight is within `most` of the largest that may share its scale, and some is nearly that far off."""
    gap = np.abs(back - wanted) / np.abs(wanted).max(axis=axis, keepdims=True)
    assert gap.max() <= most * (1 + 1e-5)
    assert gap.max() > most * 0.5, "the weights are quantised"


@EVERY_FORM
def test_onnx_runtime_turns_a_matrix_back(form: Form, most: float) -> None:
    matrix_NK = torch.randn(6, 64, generator=torch.Generator().manual_seed(1))
    matrix_NK[2] = 0
    graph = product("layers.0.up.weight", 6, 64)
    assert dequantized_weights(form)(graph) == 1
    assert operators(graph) == ["DequantizeLinear", "MatMul", *["Mul"] * (form != "int4")]
    (back_KN,) = turned_back(graph, {"layers.0.up.weight": matrix_NK}, {"x": np.eye(64, dtype=np.float32)})
    assert not back_KN[:, 2].any()
    kept = [0, 1, 3, 4, 5]
    near(back_KN[:, kept], matrix_NK.t().numpy()[:, kept], 0, most)


@EVERY_FORM
def test_a_table_and_the_head_that_shares_it_are_stored_once(form: Form, most: float) -> None:
    table = torch.randn(9, 64, generator=torch.Generator().manual_seed(2))
    graph = shared_table(9, 64)
    assert dequantized_weights(form)(graph) == 1
    names = operators(graph)
    assert (names.count("DequantizeLinear"), names.count("MatMul"), names.count("Gemm")) == (1, 1, 0)
    stored = [item for item in graph.graph.initializers.values() if isinstance(item.const_value, WeightTensor)]
    assert len(stored) == 2, "the numbers and their scales"
    ids = np.array([8, 0, 3])
    rows, columns = turned_back(graph, {"table": table}, {"ids": ids, "x": np.eye(64, dtype=np.float32)})
    near(columns.T, table.numpy(), 1, most)
    np.testing.assert_allclose(rows, columns.T[ids], rtol=1e-6)


@EVERY_FORM
def test_every_matrix_of_a_stack_has_scales_of_its_own(form: Form, most: float) -> None:
    random = torch.Generator().manual_seed(3)
    slots = {f"experts.{i}.up": 10.0**i * torch.randn(6, 64, generator=random) for i in range(3)}
    graph = stacked(3, 6, 64)
    assert dequantized_weights(form)(graph) == 1
    assert operators(graph) == ["DequantizeLinear", "MatMul", *["Mul"] * (form != "int4")]
    (back_EKN,) = turned_back(graph, slots, {"x": np.eye(64, dtype=np.float32)[None]})
    for back_KN, matrix_NK in zip(back_EKN, slots.values(), strict=True):
        near(back_KN, matrix_NK.t().numpy(), 0, most)


@EVERY_FORM
@pytest.mark.parametrize("beside", ["loop", "layer", ""])
def test_beside_a_loop_or_shared_weights_products_share_no_input(beside: str, form: Form, most: float) -> None:
    graph = product("a", 6, 64)
    x = graph.graph.inputs[0]
    for slot in "bc":
        other = product(slot, 6, 64).graph
        for initializer in list(other.initializers.values()):
            other.initializers.pop(initializer.name)
            graph.graph.initializers.add(initializer)
        (node,) = other
        other.outputs.clear()
        other.remove(node)
        node.replace_input_with(0, x)
        node.name = node.outputs[0].name = slot
        graph.graph.append(node)
        graph.graph.outputs.append(node.outputs[0])
    products = list(graph.graph)
    if beside == "layer":
        # Another layer with the weights of two of them, in the other order.
        z = ir.Node("", "Neg", [x], name="z")
        made = [ir.Node("", "MatMul", [z.outputs[0], node.inputs[1]], name=f"{node.name}2") for node in products[1::-1]]
        for node in made:
            node.outputs[0].name, node.outputs[0].shape = node.name, products[0].outputs[0].shape
            node.outputs[0].type = products[0].outputs[0].type
        graph.graph.extend([z, *made])
        graph.graph.outputs.extend([node.outputs[0] for node in made])
    if beside == "loop":
        row = value("row", ir.DataType.FLOAT, 64)
        same = ir.Node("", "Identity", [row], name="same")
        same.outputs[0].name, same.outputs[0].type, same.outputs[0].shape = "out", row.type, row.shape
        body = ir.AttrGraph("body", ir.Graph([row], same.outputs, nodes=[same], name="body"))
        graph.graph.append(ir.Node("", "Scan", [x], [body, ir.AttrInt64("num_scan_inputs", 1)], name="loop"))
    assert dequantized_weights(form)(graph) == 3
    read = [node.inputs[0] for node in products]
    assert len(set(read)) == (3 if beside and form != "int4" else 1)
    random = torch.Generator().manual_seed(4)
    slots = {slot: torch.randn(6, 64, generator=random) for slot in "abc"}
    backs = turned_back(graph, slots, {"x": np.eye(64, dtype=np.float32)})
    wanted = [*slots.values(), *([-slots["b"], -slots["a"]] if beside == "layer" else [])]
    for back, matrix_NK in zip(backs, wanted, strict=True):
        near(back, matrix_NK.t().numpy(), 0, most)


def test_integers_and_scales_by_hand() -> None:
    rows = torch.tensor([[7.0, -3.5, 0.9, 0.0], [0.0, 1.4, -2.8, 2.8]])
    scheme = Scheme("int4", 2)
    torch.testing.assert_close(scheme.scales(rows, torch.float32), torch.tensor([[1.0, 0.9 / 7], [0.2, 0.4]]))
    assert scheme.numbers(rows, scheme.scales(rows, torch.float32)).tolist() == [[7, -4, 7, 0], [0, 7, -7, 7]]
    assert packed(torch.tensor([[7, -4], [-1, 1]], dtype=torch.int8)).tolist() == [[0xC7], [0x1F]]
    whole = Scheme("int8", None)
    torch.testing.assert_close(whole.scales(rows, torch.float32), torch.tensor([[7 / 127], [2.8 / 127]]) * 1024)


def test_scales_are_those_of_the_graph_s_dtype() -> None:
    matrix = SignedMatrix(WeightTensor("w", (2, 64), ir.DataType.FLOAT16), Scheme("int8", None))
    value_NK = torch.full((2, 64), 0.1)
    (scales,) = SignedScales(matrix).blocks(value_NK, torch.float16)
    (integers,) = SignedValues(matrix).blocks(value_NK, torch.int8)
    assert scales.dtype == torch.float16
    torch.testing.assert_close(integers.float() * scales.float() / 1024, value_NK.t(), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("slot", "rows", "columns", "form"),
    [
        ("layers.0.mlp.router.projection.weight", 6, 64, "int8"),
        ("w", 6, 20, "int4"),
        ("w", 5, 64, "int4"),
        ("w", 1, 64, "int8"),
    ],
)
def test_what_has_no_such_form_stays(slot: str, rows: int, columns: int, form: Form) -> None:
    kept = product(slot, rows, columns)
    assert dequantized_weights(form)(kept) == 0
    assert operators(kept) == ["MatMul"]


def test_float8_by_hand() -> None:
    rows = torch.tensor([[448.0, -1.1, 0.0, 17.0], [-0.5, 0.25, 0.1, 0.0]])
    scheme = Scheme("fp8", None)
    torch.testing.assert_close(scheme.scales(rows, torch.float32), torch.tensor([[1.0], [0.5 / 448]]) * 4096)
    # 3 bits of mantissa: steps of 1/8 from 1 to 2, of 2 from 16 to 32 (17 lies between, and goes to the even one), of
    # 8 from 64 to 128.
    assert scheme.numbers(rows, scheme.scales(rows, torch.float32)).float().tolist() == [
        [448, -1.125, 0, 16],
        [-448, 224, 88, 0],
    ]
    assert scheme.dtype == ir.DataType.FLOAT8E4M3FN


def test_float8_is_for_newer_devices(tmp_path: Path) -> None:
    with pytest.raises(
        BuildError, match=r"fp8: not supported by compute capability 8\.6, only from 8\.9; choose 8\.9 and 12\.0 alone"
    ):
        build("small-lm", random=1, out=tmp_path / "engine.plan", target="tensorrt-rtx", quantize="fp8")
    options = EngineOptions(compute_capabilities=("7.5",))
    with pytest.raises(BuildError, match=r"capability 7\.5, only from 8\.9; use --quantize int8"):
        build("small-lm", random=1, out=tmp_path / "engine.plan", target="tensorrt-rtx", quantize="fp8", engine=options)
    assert not list(tmp_path.iterdir())


def test_float8_is_not_built_again_for_older_devices(tmp_path: Path) -> None:
    sizes = ["d_model=32", "d_ff=48", "num_layers=1", "num_heads=2", "vocab_size=60", "context_length=64"]
    options = EngineOptions(compute_capabilities=("8.9",), keep_graph=True)
    out = tmp_path / "engine.plan"
    build("small-lm", random=1, out=out, target="tensorrt-rtx", quantize="fp8", engine=options, overrides=sizes)
    again = rebuild(out, tmp_path / "again.plan", "tensorrt-rtx", EngineOptions(compute_capabilities=("12.0",)))
    with Plan(again) as plan:
        assert plan.manifest.quantization == "fp8"
    with pytest.raises(BuildError, match="fp8: not supported by compute capability"):
        rebuild(out, tmp_path / "old.plan", "tensorrt-rtx", EngineOptions())


@pytest.mark.parametrize(("form", "kind"), [("int8", "int8"), ("int4", "int4"), ("fp8", "float8e4m3fn")])
@pytest.mark.parametrize("family", ["small-lm", "mixtral"])
def test_an_engine_with_them_builds(family: str, form: str, kind: str, tmp_path: Path) -> None:
    sizes = {
        "small-lm": "d_model=32 d_ff=48 num_layers=1 num_heads=2 vocab_size=60 context_length=64",
        "mixtral": "hidden_size=32 intermediate_size=48 num_hidden_layers=1 num_attention_heads=2 "
        "num_key_value_heads=1 head_dim=16 vocab_size=60 max_position_embeddings=64",
    }[family]
    options = EngineOptions(compute_capabilities=("8.9",), keep_graph=True)
    out = tmp_path / "engine.plan"
    build(family, random=1, out=out, target="tensorrt-rtx", quantize=form, engine=options, overrides=sizes.split())
    with Plan(out) as plan:
        assert (plan.manifest.quantization, plan.manifest.dtype) == (form, "float16")
        stored = {tensor.name: tensor.dtype for tensor in plan.manifest.tensors}
        assert list(stored.values()).count(kind) >= 7
        graph = onnx.load_model_from_string(plan.read("model.onnx"))
        assert [node.op_type for node in graph.graph.node].count("DequantizeLinear") == list(stored.values()).count(
            kind
        )
        matrices = [t for t in plan.manifest.tensors if len(t.shape) > 1 and t.dtype in ("float16", "float32")]
        kept = [t.name for t in matrices if not t.name.endswith(".scale") and "router" not in t.name]
        assert kept == []
