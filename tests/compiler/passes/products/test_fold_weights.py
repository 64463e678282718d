from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch

from archc.compiler.passes.products.fold_weights import fold_weights
from archc.compiler.weights.lazy import Offset, Stacked, Transposed, WeightTensor
from tests.compiler.graphs import constant, model, operators, value, weight

FLOAT = ir.DataType.FLOAT


def transpose(source: ir.Value, perm: list[int], name: str) -> ir.Node:
    return ir.Node("", "Transpose", [source], [ir.AttrInt64s("perm", perm)], name=name)


def projection(table: ir.Value, name: str) -> tuple[ir.Value, ir.Node, ir.Node]:
    x = value(f"{name}.x", FLOAT, "batch", 4)
    turned = transpose(table, [1, 0], f"{name}.turn")
    return x, turned, ir.Node("", "MatMul", [x, turned.outputs[0]], name=name)


def test_a_transposed_weight_is_stored_transposed() -> None:
    table = weight("layers.0.q.weight", 6, 4)
    x, turned, product = projection(table, "q")
    graph_model = model([x], [turned, product], product.outputs, [table])
    assert fold_weights(graph_model) == 1
    assert operators(graph_model) == ["MatMul"]
    (stored,) = graph_model.graph.initializers.values()
    assert isinstance(stored.const_value, WeightTensor)
    assert stored.const_value.slot == "layers.0.q.weight"
    assert stored.const_value.steps == (Transposed(),)
    assert list(stored.const_value.shape) == [4, 6]
    numbers = torch.arange(24.0).reshape(6, 4)
    assert torch.equal(torch.cat(list(stored.const_value.blocks(numbers, torch.float32))), numbers.t())


def stack(source: ir.Value, shape: list[int], name: str) -> tuple[ir.Value, ir.Node]:
    sizes = constant(f"{name}.shape", np.array(shape, np.int64))
    return sizes, ir.Node("", "Reshape", [source, sizes], name=name)


def test_a_weight_cut_into_heads_is_stored_cut_and_each_head_transposed() -> None:
    table = weight("layers.0.attention.v_up.weight", 6, 4)
    x = value("x", FLOAT, "batch", 3, "seq", 4)
    sizes, heads = stack(table, [3, 2, 4], "heads")
    turned = transpose(heads.outputs[0], [0, 2, 1], "turn")
    product = ir.Node("", "MatMul", [x, turned.outputs[0]], name="product")
    graph_model = model([x], [heads, turned, product], product.outputs, [table, sizes])
    assert fold_weights(graph_model) == 2
    assert operators(graph_model) == ["MatMul"]
    (stored,) = (v.const_value for v in graph_model.graph.initializers.values() if v is not sizes)
    assert isinstance(stored, WeightTensor)
    assert (stored.steps, list(stored.shape)) == ((Stacked(3), Transposed()), [3, 4, 2])
    numbers = torch.arange(24.0).reshape(6, 4)
    wanted = torch.stack([numbers[0:2].t(), numbers[2:4].t(), numbers[4:6].t()])
    assert torch.equal(torch.cat(list(stored.blocks(numbers, torch.float32))), wanted)


def test_a_weight_cut_otherwise_stays() -> None:
    table = weight("w", 6, 4)
    pairs = [stack(table, shape, f"cut.{index}") for index, shape in enumerate(([6, 2, 2], [24], [0, 2, 4], [4, 6]))]
    outputs = [node.outputs[0] for _, node in pairs]
    graph_model = model([], [node for _, node in pairs], outputs, [table, *(sizes for sizes, _ in pairs)])
    assert fold_weights(graph_model) == 0


def test_two_users_share_one_stored_form() -> None:
    table = weight("shared.weight", 6, 4)
    x, turned, product = projection(table, "a")
    y, turned_too, product_too = projection(table, "b")
    nodes = [turned, product, turned_too, product_too]
    graph_model = model([x, y], nodes, [*product.outputs, *product_too.outputs], [table])
    assert fold_weights(graph_model) == 2
    assert len(graph_model.graph.initializers) == 1


def test_a_weight_that_is_read_both_ways_is_stored_both_ways() -> None:
    table = weight("embedding.tokens.weight", 6, 4)
    x, turned, product = projection(table, "head")
    ids = value("ids", ir.DataType.INT64, "batch")
    rows = ir.Node("", "Gather", [table, ids], name="gather")
    graph_model = model([x, ids], [turned, product, rows], [*product.outputs, *rows.outputs], [table])
    fold_weights(graph_model)
    assert len(graph_model.graph.initializers) == 2


def test_one_plus_a_norm_weight_is_stored_as_the_sum() -> None:
    scale, one = weight("layers.0.mixer_norm.weight", 4), constant("one", np.array(1.0, np.float32))
    x = value("x", FLOAT, "batch", 4)
    total = ir.Node("", "Add", [scale, one], name="sum")
    norm = ir.Node("", "RMSNormalization", [x, total.outputs[0]], name="norm")
    graph_model = model([x], [total, norm], norm.outputs, [scale, one])
    assert fold_weights(graph_model) == 1
    assert operators(graph_model) == ["RMSNormalization"]
    stored = next(
        v.const_value for v in graph_model.graph.initializers.values() if isinstance(v.const_value, WeightTensor)
    )
    assert stored.steps == (Offset(1.0),)
    (block,) = stored.blocks(torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float16), torch.float32)
    assert block.tolist() == [1.5, 0.0, 1.0, 3.0]


def test_what_depends_on_an_input_stays() -> None:
    bias, x = weight("bias", 4), value("x", FLOAT, "batch", 4)
    total = ir.Node("", "Add", [x, bias], name="sum")
    turned = transpose(x, [1, 0], "turn")
    graph_model = model([x], [total, turned], [*total.outputs, *turned.outputs], [bias])
    assert fold_weights(graph_model) == 0
    assert operators(graph_model) == ["Add", "Transpose"]


def test_a_sum_of_two_weights_and_another_permutation_stay() -> None:
    first, second, vector = weight("a", 4), weight("b", 4), constant("many", np.ones(4, np.float32))
    both = ir.Node("", "Add", [first, second], name="both")
    many = ir.Node("", "Add", [first, vector], name="many.sum")
    cube = weight("cube", 2, 3, 4)
    turned = transpose(cube, [1, 0, 2], "turn")
    outputs = [*both.outputs, *many.outputs, *turned.outputs]
    graph_model = model([], [both, many, turned], outputs, [first, second, vector, cube])
    assert fold_weights(graph_model) == 0


def test_big_weights_come_in_blocks_of_rows() -> None:
    numbers = torch.randn(3000, 2500)
    tensor = WeightTensor("w", (2500, 3000), FLOAT, (Transposed(),))
    blocks = list(tensor.blocks(numbers, torch.float32))
    assert len(blocks) > 1
    assert torch.equal(torch.cat(blocks), numbers.t())
