"""The end of the last layer computed for the positions whose logits are needed, and for no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from archc.compiler.build import build as build_plan
from archc.compiler.contract.ports import mark
from archc.compiler.graph.axes import ASKED
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.lowerings.driver import Lower
from archc.compiler.lowerings.heads import take_positions
from archc.compiler.lowerings.linear import portable
from archc.compiler.lowerings.norm import standard_norm
from archc.compiler.passes.gather_positions_early import GatherPositionsEarly
from archc.runtime.engine import load
from tests.compiler.graphs import build, constant, operators, run, typed, value

FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64
WIDTH, INNER, SEQ = 8, 12, 5
STREAM, POSITIONS = ("batch", "seq", WIDTH), ("batch", ASKED)
Change = Callable[[GraphBuilder, ir.Value], ir.Value]


class Ending:
    """out projection → residual → norm → MLP → residual → norm → TakePositions → head, as a decoder's last layer.

    `inside` changes the activation of the MLP before its products. `watched` makes the first residual an output, and
    `role` is the role of the input that TakePositions reads.
    """

    def __init__(self, inside: Change | None = None, watched: bool = False, role: str = "logit_positions") -> None:
        random = np.random.default_rng(0)

        def table(name: str, *shape: int) -> ir.Value:
            return constant(name, random.standard_normal(shape).astype(np.float32))

        self.out, self.up, self.down = (
            table("out", WIDTH, WIDTH),
            table("up", INNER, WIDTH),
            table("down", WIDTH, INNER),
        )
        self.scale, self.factor = table("scale", WIDTH), table("factor", 1)
        self.mixed, self.stream = value("mixed", FLOAT, *STREAM), value("stream", FLOAT, *STREAM)
        self.positions = value("logit_positions", INT64, *POSITIONS)
        mark(self.positions, {"role": role})
        self.inside, self.watched = inside, watched
        self.model = build(
            [self.mixed, self.stream, self.positions],
            self._nodes,
            [self.out, self.up, self.down, self.scale, self.factor],
        )

    def _nodes(self, op: GraphBuilder) -> list[ir.Value]:
        def linear(x: ir.Value, weight: ir.Value, name: str) -> ir.Value:
            return typed(op.Linear(x, weight, domain=ARCHC), name, FLOAT, "batch", "seq", weight.shape[0])

        def norm(x: ir.Value, name: str) -> ir.Value:
            normed = op.Norm(x, self.scale, kind="rms", epsilon=1e-5, offset=0.0, domain=ARCHC)
            return typed(normed, name, FLOAT, *STREAM)

        residual = typed(op.Add(self.stream, linear(self.mixed, self.out, "attended")), "residual", FLOAT, *STREAM)
        inner = norm(residual, "normed")
        if self.inside is not None:
            inner = self.inside(op, inner)
        # A factor that is computed from a constant is the same for all positions.
        gate = typed(
            op.Mul(linear(inner, self.up, "gate"), op.Exp(self.factor)), "scaled", FLOAT, "batch", "seq", INNER
        )
        active = typed(op.Tanh(gate), "active", FLOAT, "batch", "seq", INNER)
        last = typed(op.Add(residual, linear(active, self.down, "mlp")), "last", FLOAT, *STREAM)
        rows = typed(
            op.TakePositions(norm(last, "final"), self.positions, domain=ARCHC), "rows", FLOAT, *POSITIONS, WIDTH
        )
        head = typed(op.Tanh(rows), "head", FLOAT, *POSITIONS, WIDTH)
        return [head, *([residual] if self.watched else [])]

    def gathered(self) -> list[str | None]:
        """The names of the values whose positions are gathered."""
        return sorted(node.inputs[0].name for node in self.model.graph if node.op_type == "TakePositions")

    def run(self) -> list[NDArray[Any]]:
        """The outputs of a lowered copy."""
        random = np.random.default_rng(1)
        feeds = {name: random.standard_normal((2, SEQ, WIDTH)).astype(np.float32) for name in ("mixed", "stream")}
        feeds["logit_positions"] = np.array([[4, 0], [3, 3]])
        copy = self.model.clone()
        Lower({"Linear": portable.linear, "Norm": standard_norm, "TakePositions": take_positions})(copy)
        return run(copy, feeds)


def shifted(op: GraphBuilder, x: ir.Value) -> ir.Value:
    """Mix each position with the one before, as a token shift does."""
    first = typed(op.Slice(x, op.ints(0), op.ints(1), op.ints(1)), "first", FLOAT, "batch", 1, WIDTH)
    rest = typed(op.Slice(x, op.ints(0), op.ints(-1), op.ints(1)), "rest", FLOAT, "batch", "rest", WIDTH)
    return typed(op.Concat(first, rest, axis=1), "shifted", FLOAT, *STREAM)


def averaged(op: GraphBuilder, x: ir.Value) -> ir.Value:
    """Add the mean over positions, which all of them share."""
    mean = typed(op.ReduceMean(x, op.ints(1)), "mean", FLOAT, "batch", 1, WIDTH)
    return typed(op.Add(x, mean), "averaged", FLOAT, *STREAM)


CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a plain layer": ({}, ["mixed", "stream"]),
    "an MLP that mixes positions": ({"inside": shifted}, ["residual", "shifted"]),
    "a first residual that is an output": ({"watched": True}, ["residual"]),
}


@pytest.mark.parametrize("name", CASES)
def test_fewer_rows_have_the_same_numbers(name: str) -> None:
    options, gathered = CASES[name]
    ending = Ending(**options)
    before = ending.run()
    assert ending.gathered() == ["final"]
    assert GatherPositionsEarly()(ending.model).modified
    assert ending.gathered() == gathered
    for actual, expected in zip(ending.run(), before, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_gather_comes_before_the_products_that_it_shortens(name: str) -> None:
    options, _ = CASES[name]
    ending = Ending(**options)
    GatherPositionsEarly()(ending.model)
    order = operators(ending.model)
    assert order.index("TakePositions") < order.index("Tanh")
    assert (order.index("TakePositions") < order.index("Linear")) == (not options)


def test_values_after_the_gather_have_an_axis_named_asked() -> None:
    ending = Ending()
    GatherPositionsEarly()(ending.model)
    axes = {node.outputs[0].name: str(node.outputs[0].shape) for node in ending.model.graph if node.outputs[0].shape}
    assert {axes.pop(name) for name in ("gate", "scaled", "active")} == {f"[batch,{ASKED},{INNER}]"}
    assert set(axes.values()) == {f"[batch,{ASKED},{WIDTH}]"}
    assert {str(ending.mixed.shape), str(ending.stream.shape)} == {f"[batch,seq,{WIDTH}]"}


def test_values_before_the_gather_keep_their_axes() -> None:
    ending = Ending(watched=True)
    GatherPositionsEarly()(ending.model)
    axes = {node.outputs[0].name: str(node.outputs[0].shape) for node in ending.model.graph}
    assert (axes["attended"], axes["residual"], axes["normed"]) == (
        f"[batch,seq,{WIDTH}]", f"[batch,seq,{WIDTH}]", f"[batch,{ASKED},{WIDTH}]",
    )  # fmt: skip


@pytest.mark.parametrize("role", ["positions", "write_indices"])
def test_a_gather_of_other_positions_stays(role: str) -> None:
    ending = Ending(role=role)
    assert not GatherPositionsEarly()(ending.model).modified
    assert ending.gathered() == ["final"]


def test_a_gather_of_computed_positions_within_a_mixer_is_not_the_head_s() -> None:
    """A token shift takes its tail with TakePositions, too, before the head's."""
    tails: list[ir.Value] = []

    def tail(op: GraphBuilder, x: ir.Value) -> ir.Value:
        last = op.ReduceMin(op.Shape(x, start=1, end=2), op.ints(0), keepdims=1)
        index = op.Sub(
            op.Expand(op.Unsqueeze(last, op.ints(0)), op.Concat(op.Shape(x, end=1), op.ints(1), axis=0)), op.ints(1)
        )
        tails.append(typed(op.TakePositions(x, index, domain=ARCHC), "tail", FLOAT, "batch", 1, WIDTH))
        return typed(op.Add(x, tails[0]), "mixed.tail", FLOAT, *STREAM)

    ending = Ending(inside=tail)
    before = ending.run()
    assert ending.gathered() == ["final", "normed"]
    assert GatherPositionsEarly()(ending.model).modified
    assert ending.gathered() == ["mixed.tail", "normed", "residual"]
    assert str(tails[0].shape) == f"[batch,1,{WIDTH}]"
    np.testing.assert_allclose(ending.run()[0], before[0], atol=1e-6)


STOPS: dict[str, Change] = {
    "a reduction over positions": averaged,
    "a standard product, which may mix positions": lambda op, x: typed(
        op.MatMul(x, op.constant(np.eye(WIDTH, dtype=np.float32))), "turned", FLOAT, *STREAM
    ),
    "a value of another rank": lambda op, x: typed(
        op.Mul(x, typed(op.Squeeze(op.ReduceMax(x, op.ints(0, 1)), op.ints(0)), "largest", FLOAT, 1, WIDTH)),
        "by.largest", FLOAT, *STREAM,
    ),
    "a value of unknown shape": lambda op, x: typed(op.Mul(x, op.Neg(x)), "squared", FLOAT, *STREAM),
}  # fmt: skip


@pytest.mark.parametrize("name", STOPS)
def test_the_gather_stays_behind(name: str) -> None:
    ending = Ending(inside=STOPS[name])
    before = ending.run()
    assert GatherPositionsEarly()(ending.model).modified
    normed = next(node for node in ending.model.graph if node.outputs[0].name == "normed")
    assert str(normed.outputs[0].shape) == f"[batch,seq,{WIDTH}]"
    assert "normed" not in ending.gathered()
    np.testing.assert_allclose(ending.run()[0], before[0], atol=1e-6)


def test_a_gather_at_the_mixer_already_stays() -> None:
    x, positions = value("x", FLOAT, *STREAM), value("logit_positions", INT64, *POSITIONS)
    mark(positions, {"role": "logit_positions"})

    def make(op: GraphBuilder) -> list[ir.Value]:
        mean = typed(op.CumSum(x, op.scalar(1)), "sum", FLOAT, *STREAM)
        return [typed(op.TakePositions(mean, positions, domain=ARCHC), "y", FLOAT, *POSITIONS, WIDTH)]

    assert not GatherPositionsEarly()(build([x, positions], make)).modified


def test_a_graph_without_a_gather_stays() -> None:
    x = value("x", FLOAT, *STREAM)
    assert not GatherPositionsEarly()(build([x], lambda op: [typed(op.Tanh(x), "y", FLOAT, *STREAM)])).modified


SPEC = """
family: tiny
extends: llama
sizes:
  tiny:
    {vocab_size: 50, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4,
     num_key_value_heads: 2, max_position_embeddings: 64}
"""


@pytest.mark.parametrize("quantize", [None, "int8", "int4"], ids=["float32", "int8", "int4"])
def test_a_call_may_need_no_logits_at_all(quantize: str | None, tmp_path: Path) -> None:
    spec = tmp_path / "tiny.yaml"
    spec.write_text(SPEC)
    engine = load(build_plan(spec, random=3, size="tiny", out=tmp_path / "p.plan", quantize=quantize), threads=1)
    rows = np.random.default_rng(0).integers(0, 50, (2, 9))
    parted, whole = engine.sequences(2), engine.sequences(2)
    parted.append(rows[:, :4], logits="none")
    parted.append(rows[:, 4:8], logits="none")
    whole.append(rows[:, :8], logits="last")
    actual, expected = (sequences.append(rows[:, 8:], logits="last") for sequences in (parted, whole))
    # With 8 bits, tokens of one call share the rounding of its activations.
    assert np.abs(actual - expected).max() < (1e-5 if quantize is None else 0.03) * np.abs(expected).max()
