"""Every way to compute a mixture's experts, against the operator itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray

from archc.compiler.ops import experts as mixture
from archc.compiler.passes import Pass
from archc.compiler.passes.experts.batched_experts import batch_experts, stack_size
from archc.compiler.passes.experts.routed_experts import route_experts
from archc.compiler.passes.experts.scanned_experts import scan_experts
from archc.compiler.passes.products.fold_weights import fold_weights
from archc.compiler.passes.products.quantize import quantize
from archc.compiler.weights.lazy import StackedWeight, WeightTensor
from tests.compiler.graphs import model, operators, run, value
from tests.compiler.passes.products.test_quantize import fill

WIDTH, INNER = 32, 16
PASSES = pytest.mark.parametrize("graph_pass", [scan_experts, batch_experts, route_experts])
OPTIONS = [
    pytest.param(True, False, ("silu", 0.0, 0.0, 0.0), id="swiglu"),
    pytest.param(True, True, ("silu", 1.7, 0.8, 1.0), id="clamped"),
    pytest.param(True, True, ("gelu", 0.0, 0.0, 0.0), id="geglu"),
    pytest.param(False, True, ("relu2", 0.0, 0.0, 0.0), id="plain"),
    pytest.param(False, False, ("gelu_tanh", 0.0, 0.0, 0.0), id="plain-gelu"),
    pytest.param(False, False, ("relu", 0.0, 0.0, 0.0), id="plain-relu"),
]
Slots = dict[str, torch.Tensor]


def stacks(experts: int, gated: bool, biased: bool) -> dict[str, torch.Tensor]:
    """Random weights [experts, ...] by the names of the node's inputs."""
    shapes = {"up": (INNER, WIDTH), "down": (WIDTH, INNER)} | ({"gate": (INNER, WIDTH)} if gated else {})
    shapes |= {f"{name}_bias": shape[:1] for name, shape in shapes.items()} if biased else {}
    generator = torch.Generator().manual_seed(experts)
    return {name: 0.3 * torch.randn(experts, *shape, generator=generator) for name, shape in shapes.items()}


def graph(weights: Mapping[str, torch.Tensor], per_token: int, options: tuple[str, float, float, float]) -> ir.Model:
    """One Experts node as the compiler leaves it."""
    inputs = [
        value("x", ir.DataType.FLOAT, "batch", "seq", WIDTH),
        value("chosen", ir.DataType.INT64, "batch", "seq", per_token),
        value("weights", ir.DataType.FLOAT, "batch", "seq", per_token),
    ]
    initializers = {}
    for name, numbers in weights.items():
        tensor = StackedWeight(name, [f"{name}.{i}" for i in range(len(numbers))], numbers.shape, ir.DataType.FLOAT)
        kind = ir.TensorType(ir.DataType.FLOAT)
        initializers[name] = ir.Value(name=name, shape=tensor.shape, type=kind, const_value=tensor)
    given = [*inputs, *(initializers.get(name) for name in mixture.INPUTS[3:])]
    names = ("function", "beta", "limit", "up_offset")
    attributes = [ir.convenience.convert_attribute(*pair) for pair in zip(names, options, strict=True)]
    node = ir.Node(mixture.DOMAIN, mixture.EXPERTS, given, attributes, num_outputs=1, name="experts")
    node.outputs[0].name, node.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    node.outputs[0].shape = ir.Shape(["batch", "seq", WIDTH])
    made = model(inputs, [node], node.outputs, list(initializers.values()))
    made.graph.opset_imports[mixture.DOMAIN] = 1
    return made


def filled(made: ir.Model, weights: Mapping[str, torch.Tensor]) -> ir.Model:
    """The model with its weights' numbers, those that nothing reads left out."""
    slots = {f"{name}.{i}": part for name, numbers in weights.items() for i, part in enumerate(numbers)}
    for name, item in list(made.graph.initializers.items()):
        tensor = item.const_value
        if isinstance(tensor, WeightTensor):
            if not item.uses():
                del made.graph.initializers[name]
                continue
            parts = [torch.cat(list(part.blocks(slots[part.slot], torch.float32))) for part in tensor.in_parts()]
            numbers = torch.stack(parts).reshape(tuple(map(int, tensor.shape)))
            item.const_value = ir.tensor(numbers.numpy(), name=name)
    return made


def feeds(experts: int, per_token: int, batch: int, seq: int) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(experts)
    chosen = np.argsort(random.random((batch, seq, experts)), axis=-1)[..., :per_token]
    return {
        "x": random.standard_normal((batch, seq, WIDTH)).astype(np.float32),
        "chosen": chosen.astype(np.int64),
        "weights": random.random((batch, seq, per_token)).astype(np.float32),
    }


def wanted(
    weights: Mapping[str, torch.Tensor], given: Mapping[str, NDArray[Any]], options: tuple[str, float, float, float]
) -> NDArray[np.float32]:
    arguments = [torch.from_numpy(given[name]) for name in ("x", "chosen", "weights")]
    result: NDArray[np.float32] = mixture.experts(
        *arguments, *(weights.get(name) for name in mixture.INPUTS[3:]), *options
    ).numpy()
    return result


@PASSES
@pytest.mark.parametrize(("gated", "biased", "options"), OPTIONS)
@pytest.mark.parametrize(("experts", "per_token"), [(1, 1), (5, 2), (9, 9), (64, 3)])
def test_equals_the_operator(
    graph_pass: Pass, gated: bool, biased: bool, options: tuple[str, float, float, float], experts: int, per_token: int
) -> None:
    weights = stacks(experts, gated, biased)
    made = graph(weights, per_token, options)
    assert graph_pass(made) == 1
    assert mixture.EXPERTS not in operators(made)
    assert list(made.graph.opset_imports) == [""]
    made = filled(made, weights)
    for batch, seq in ((1, 1), (2, 7)):
        given = feeds(experts, per_token, batch, seq)
        np.testing.assert_allclose(run(made, given)[0], wanted(weights, given, options), rtol=1e-4, atol=1e-4)


@PASSES
def test_what_a_token_does_not_use_does_not_reach_it(graph_pass: Pass) -> None:
    options = ("silu", 0.0, 0.0, 0.0)
    weights = stacks(6, gated=True, biased=False)
    given = feeds(6, 2, 2, 3)
    clean = wanted(weights, given, options)
    unused = next(iter(set(range(6)) - set(given["chosen"][0, :2].flatten().tolist())))
    weights["up"][unused] = torch.nan
    made = graph(weights, 2, options)
    graph_pass(made)
    result = run(filled(made, weights), given)[0]
    np.testing.assert_allclose(result[0, :2], clean[0, :2], rtol=1e-4, atol=1e-5)


def test_on_the_cpu_weights_stay_matrices() -> None:
    weights = stacks(8, gated=True, biased=False)
    made = graph(weights, 2, ("silu", 0.0, 0.0, 0.0))
    route_experts(made)
    products = [node for node in made.graph if node.op_type == "MatMul" and isinstance(_weight(node), WeightTensor)]
    assert len(products) == 3 * 8
    assert {len(_weight(node).shape) for node in products} == {2}
    assert all(not node.attributes.get("body") for node in made.graph)


def _weight(node: ir.Node) -> Any:
    return node.inputs[1].const_value if node.inputs[1] is not None else None


@pytest.mark.parametrize(
    ("experts", "widest", "count"), [(8, 14336, 4), (128, 2048, 32), (60, 2048, 30), (7, 2**20, 1)]
)
def test_a_stack_s_results_are_bounded(experts: int, widest: int, count: int) -> None:
    assert stack_size(experts, widest) == count


@pytest.mark.parametrize("biased", [False, True])
def test_experts_in_several_stacks(biased: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archc.compiler.passes.experts.batched_experts._WIDEST", 5 * WIDTH)
    options = ("silu", 0.0, 0.0, 0.0)
    weights = stacks(12, gated=True, biased=biased)
    made = graph(weights, 3, options)
    batch_experts(made)
    assert operators(made).count("MatMul") == 3 * 3
    assert {int(_weight(node).shape[0]) for node in made.graph if node.op_type == "MatMul"} == {4}
    given = feeds(12, 3, 2, 7)
    result = run(filled(made, weights), given)[0]
    np.testing.assert_allclose(result, wanted(weights, given, options), rtol=1e-4, atol=1e-4)


def test_the_scan_has_as_many_nodes_for_any_number_of_experts() -> None:
    counts = set()
    for count in (2, 64):
        made = graph(stacks(count, gated=True, biased=True), 2, ("silu", 0.0, 0.0, 0.0))
        scan_experts(made)
        counts.add(len(operators(made)))
    assert len(counts) == 1


@pytest.mark.parametrize("bits", [8, 4])
def test_experts_in_fewer_bits(bits: Literal[8, 4]) -> None:
    options = ("silu", 0.0, 0.0, 0.0)
    weights = stacks(20, gated=True, biased=True)
    made = graph(weights, 2, options)
    route_experts(made)
    fold_weights(made)
    assert quantize(bits)(made) == 3 * 20
    fill(made, {f"{name}.{i}": part for name, numbers in weights.items() for i, part in enumerate(numbers)})
    for batch, seq in ((1, 1), (2, 7)):  # most experts have no rows
        given = feeds(20, 2, batch, seq)
        clean = wanted(weights, given, options)
        error = np.linalg.norm(run(made, given)[0] - clean) / np.linalg.norm(clean)
        assert error < {8: 0.03, 4: 0.2}[bits]


@PASSES
def test_a_graph_without_experts_stays(graph_pass: Pass) -> None:
    x = value("x", ir.DataType.FLOAT, 2)
    node = ir.Node("", "Relu", [x], num_outputs=1, name="relu")
    node.outputs[0].name = "y"
    made = model([x], [node], node.outputs)
    assert graph_pass(made) == 0
    assert operators(made) == ["Relu"]
