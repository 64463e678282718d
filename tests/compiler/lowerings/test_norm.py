"""Norms by standard operators, next to the torch operators; an offset is part of a weight that is streamed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor

from archc.compiler.contract.dtypes import torch_dtype
from archc.compiler.lowerings.driver import Lower
from archc.compiler.lowerings.norm import standard_norm
from archc.compiler.ops import operators as ops
from archc.compiler.weights.steps import Offset
from tests.compiler.graphs import constant, filled, model, operators, run, semantic, value, weight, weights_of

FLOAT, FLOAT16, BFLOAT16 = ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16
WIDTH, EPSILON = 10, 0.03
SHAPE = ("batch", "seq", WIDTH)
TENSORS = {
    "norm.weight": torch.randn(WIDTH, generator=torch.Generator().manual_seed(1)),
    "norm.bias": torch.randn(WIDTH, generator=torch.Generator().manual_seed(2)),
}


@dataclass(frozen=True)
class Norm:
    """The options of `archc.Norm`."""

    kind: str = "rms"
    weight: bool = True
    bias: bool = False
    offset: float = 0.0
    dtype: ir.DataType = FLOAT

    def lowered(self) -> ir.Model:
        """Return a graph with the one norm, lowered."""
        x = value("x", self.dtype, *SHAPE)
        names = {"norm.weight": self.weight, "norm.bias": self.bias}
        weights = [weight(name, WIDTH, dtype=self.dtype) if present else None for name, present in names.items()]
        attributes = {"kind": self.kind, "epsilon": EPSILON, "offset": self.offset}
        node = semantic("Norm", [x, *weights], "y", SHAPE, self.dtype, **attributes)
        graph_model = model([x], [node], node.outputs, [item for item in weights if item is not None])
        assert Lower({"Norm": standard_norm})(graph_model).modified
        return graph_model

    def expected(self, x: Tensor) -> Tensor:
        """Return the torch operator's result."""
        scale, bias = (tensor.to(x.dtype) for tensor in TENSORS.values())
        if self.kind == "rms":
            return ops.rms_norm(x, scale, EPSILON, self.offset)
        return ops.layer_norm(x, scale if self.weight else None, bias if self.bias else None, EPSILON, self.offset)


NORMS = {
    "rms": Norm(),
    "rms, unit offset": Norm(offset=1.0),
    "layer": Norm("layer"),
    "layer, bias": Norm("layer", bias=True),
    "layer, unit offset": Norm("layer", offset=1.0),
    "layer, unit offset and bias": Norm("layer", bias=True, offset=1.0),
    "layer without a weight": Norm("layer", weight=False),
    "layer without a weight, with a bias": Norm("layer", weight=False, bias=True),
}
OPERATORS = {"rms": "RMSNormalization", "layer": "LayerNormalization"}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_is_one_standard_operator_with_the_torch_operator_s_result(name: str) -> None:
    graph_model = NORMS[name].lowered()
    assert operators(graph_model) == [OPERATORS[NORMS[name].kind]]
    assert list(graph_model.graph.opset_imports) == [""]
    filled(graph_model, TENSORS)
    for shape in ((2, 3, WIDTH), (1, 1, WIDTH), (2, 0, WIDTH)):
        x = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 1
        (y,) = run(graph_model, {"x": x.numpy()})
        np.testing.assert_allclose(y, NORMS[name].expected(x).numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NORMS)
def test_float16_is_normed_in_float32(name: str) -> None:
    """The squares of a row's numbers are past the largest float16."""
    norm = Norm(**{**vars(NORMS[name]), "dtype": FLOAT16})
    graph_model = norm.lowered()
    (node,) = graph_model.graph
    assert node.attributes["stash_type"].as_int() == 1
    assert {item.dtype for item in node.inputs if item is not None} == {FLOAT16}
    x = (300 * torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(0))).half()
    (y,) = run(filled(graph_model, TENSORS), {"x": x.numpy()})
    assert y.dtype == np.float16
    np.testing.assert_allclose(y, norm.expected(x).numpy(), rtol=2e-3, atol=2e-3)


def test_the_attributes_are_those_of_the_norm() -> None:
    (node,) = Norm().lowered().graph
    assert node.attributes["epsilon"].as_float() == pytest.approx(EPSILON)
    assert node.attributes["axis"].as_int() == -1
    (output,) = node.outputs
    assert (output.name, output.dtype, str(output.shape)) == ("y", FLOAT, f"[batch,seq,{WIDTH}]")


@pytest.mark.parametrize("kind", OPERATORS)
def test_an_offset_is_stored_with_the_weight(kind: str) -> None:
    (stored,) = weights_of(Norm(kind, offset=1.0).lowered()).values()
    assert (stored.slot, stored.steps, stored.name) == ("norm.weight", (Offset(1.0),), "norm.weight.offset_1")
    (block,) = stored.blocks(torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float16), torch.float32)
    assert block.tolist() == [1.5, 0.0, 1.0, 3.0]


def test_a_weight_without_an_offset_is_stored_as_it_is() -> None:
    (stored,) = weights_of(Norm().lowered()).values()
    assert (stored.name, stored.steps) == ("norm.weight", ())


def test_two_norms_of_one_weight_share_its_stored_form() -> None:
    x, shared = value("x", FLOAT, *SHAPE), weight("norm.weight", WIDTH)
    attributes = {"kind": "rms", "epsilon": EPSILON, "offset": 1.0}
    nodes = [semantic("Norm", [x, shared], name, SHAPE, **attributes) for name in ("first", "second")]
    graph_model = model([x], nodes, [node.outputs[0] for node in nodes], [shared])
    Lower({"Norm": standard_norm})(graph_model)
    assert list(weights_of(graph_model)) == ["norm.weight.offset_1"]


@pytest.mark.parametrize("source", ["input", "constant"])
def test_the_offset_of_a_weight_that_is_not_streamed_is_added_in_the_graph(source: str) -> None:
    x = value("x", FLOAT, *SHAPE)
    numbers = TENSORS["norm.weight"].numpy()
    scale = value("scale", FLOAT, WIDTH) if source == "input" else constant("scale", numbers)
    node = semantic("Norm", [x, scale], "y", SHAPE, kind="rms", epsilon=EPSILON, offset=1.0)
    inputs, initializers = ([x, scale], []) if source == "input" else ([x], [scale])
    graph_model = model(inputs, [node], node.outputs, initializers)
    Lower({"Norm": standard_norm})(graph_model)
    assert operators(graph_model) == ["Add", "RMSNormalization"]
    rows = torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(0))
    feeds = {"x": rows.numpy()} | ({"scale": numbers} if source == "input" else {})
    np.testing.assert_allclose(run(graph_model, feeds)[0], Norm(offset=1.0).expected(rows).numpy(), atol=1e-5)


@pytest.mark.parametrize("dtype", [FLOAT, FLOAT16, BFLOAT16], ids=["float32", "float16", "bfloat16"])
def test_without_a_weight_the_scale_is_ones_of_the_dtype(dtype: ir.DataType) -> None:
    graph_model = Norm("layer", weight=False, dtype=dtype).lowered()
    (ones,) = graph_model.graph.initializers.values()
    assert ones.const_value is not None
    assert ones.dtype == ones.const_value.dtype == dtype
    assert ones.const_value.numpy().astype(np.float32).tolist() == [1.0] * WIDTH
    assert ones.const_value.nbytes == WIDTH * torch_dtype(dtype).itemsize
