"""The end of the last layer where logits are asked for, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.build import build
from archc.compiler.passes.take_early import take_early
from archc.runtime.engine import load
from tests.compiler.graphs import constant, model, operators, run, value

FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64
WIDTH, INNER = 8, 12


def ending(shifted: bool = False, watched: bool = False) -> ir.Model:
    """out projection → residual → norm → MLP → residual → norm → positions asked for, as a layer and its head have it.

    `shifted` lets the MLP read each position's forerunner, `watched` gives the first residual as an output of its own.
    """
    random = np.random.default_rng(0)

    def weight(name: str, rows: int, columns: int) -> ir.Value:
        return constant(name, random.standard_normal((columns, rows)).astype(np.float32))

    mixed, stream = (value(name, FLOAT, "batch", "seq", WIDTH) for name in ("mixed", "stream"))
    asked = value("logit_positions", INT64, "batch", "asked")
    weights = [weight("out", WIDTH, WIDTH), weight("up", INNER, WIDTH), weight("down", WIDTH, INNER)]
    ones, last = constant("ones", np.ones(WIDTH, np.float32)), constant("last", np.array([-1]))
    begin, end, one = (constant(name, np.array([n])) for name, n in (("begin", 0), ("end", -1), ("one", 1)))
    nodes: list[ir.Node] = []

    def add(op_type: str, *inputs: ir.Value, width: int = WIDTH, **attributes: int) -> ir.Value:
        given = [ir.AttrInt64(name, number) for name, number in attributes.items()]
        node = ir.Node("", op_type, inputs, given, name=f"{op_type}.{len(nodes)}")
        node.outputs[0].shape, node.outputs[0].type = ir.Shape([None, None, width]), ir.TensorType(FLOAT)
        nodes.append(node)
        return node.outputs[0]

    residual = add("Add", stream, add("MatMul", mixed, weights[0]))
    inner = add("RMSNormalization", residual, ones, axis=-1)
    if shifted:
        inner = add("Concat", add("Slice", inner, begin, one, one), add("Slice", inner, begin, end, one), axis=1)
    inner = add("Tanh", add("MatMul", inner, weights[1], width=INNER), width=INNER)
    hidden = add("RMSNormalization", add("Add", residual, add("MatMul", inner, weights[2])), ones, axis=-1)
    places = ir.Node("", "Unsqueeze", [asked, last], name="places")
    take = ir.Node("", "GatherND", [hidden, places.outputs[0]], [ir.AttrInt64("batch_dims", 1)], name="take")
    head = ir.Node("", "Tanh", take.outputs, name="head")
    head.outputs[0].shape, head.outputs[0].type = ir.Shape(["batch", "asked", WIDTH]), ir.TensorType(FLOAT)
    outputs = [head.outputs[0], *([residual] if watched else [])]
    constants = [*weights, ones, last, begin, end, one]
    return model([mixed, stream, asked], [*nodes, places, take, head], outputs, constants)


@pytest.mark.parametrize(
    ("shifted", "watched", "moved", "takes"), [(False, False, 8, 2), (True, False, 5, 2), (False, True, 6, 1)]
)
def test_the_same_numbers_come_from_fewer_rows(shifted: bool, watched: bool, moved: int, takes: int) -> None:
    random = np.random.default_rng(1)
    feeds = {name: random.standard_normal((2, 5, WIDTH)).astype(np.float32) for name in ("mixed", "stream")}
    feeds["logit_positions"] = np.array([[4, 0], [3, 3]])
    graph = ending(shifted, watched)
    before = run(graph, feeds)
    assert take_early(graph) == moved
    after = run(graph, feeds)
    for one, other in zip(before, after, strict=True):
        assert np.allclose(one, other, atol=1e-6)
    found = operators(graph)
    assert found.count("GatherND") == takes
    assert found.index("GatherND") < found.index("Tanh")
    assert (found.index("GatherND") < found.index("MatMul")) == (not shifted and not watched)


def test_a_graph_that_is_asked_for_nothing_stays() -> None:
    x = value("x", FLOAT, "batch", "seq", WIDTH)
    node = ir.Node("", "Tanh", [x], name="node")
    assert take_early(model([x], [node], node.outputs)) == 0


SPEC = """
family: tiny
extends: llama
sizes:
  tiny:
    {vocab_size: 50, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4,
     num_key_value_heads: 2, max_position_embeddings: 64}
"""


@pytest.mark.parametrize("quantize", [None, "int8", "int4"])
def test_a_call_may_ask_for_no_position_at_all(quantize: str | None, tmp_path: Path) -> None:
    spec = tmp_path / "tiny.yaml"
    spec.write_text(SPEC)
    engine = load(build(spec, random=3, size="tiny", out=tmp_path / "p.plan", quantize=quantize), threads=1)
    rows = np.random.default_rng(0).integers(0, 50, (2, 9))
    parted, whole = engine.sequences(2), engine.sequences(2)
    parted.append(rows[:, :4], logits="none")
    parted.append(rows[:, 4:8], logits="none")
    whole.append(rows[:, :8], logits="last")
    got, wanted = (sequences.append(rows[:, 8:], logits="last") for sequences in (parted, whole))
    # With 8 bits, what shares a call shares the rounding of its activations.
    assert np.abs(got - wanted).max() < (1e-5 if quantize is None else 0.03) * np.abs(wanted).max()
