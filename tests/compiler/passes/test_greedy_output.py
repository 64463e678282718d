"""The token of the largest logit from the graph itself: the first of equals, as on the host."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.contract.ports import describe, mark
from archc.compiler.passes.greedy_output import GreedyOutput
from tests.compiler.graphs import build, operators, run, typed, value

SHAPE = ("batch", "asked", 6)


def doubled(role: str = "logits", dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Model:
    """Return logits = 2 · scores."""
    scores = value("scores", dtype, *SHAPE)
    mark(scores, {"role": "positions"})
    model = build([scores], lambda op: [typed(op.Add(scores, scores), "logits", dtype, *SHAPE)])
    mark(model.graph.outputs[0], {"role": role})
    return model


def test_token_and_logit_are_those_of_the_largest() -> None:
    model = doubled()
    assert GreedyOutput()(model).modified
    scores = np.random.default_rng(0).standard_normal((2, 3, 6)).astype(np.float32)
    scores[0, 1] = [0, 5, 1, 5, 5, 2]  # the first of equals
    scores[1, 2] = np.nan
    names = [output.name for output in model.graph.outputs]
    outputs = dict(zip(names, run(model, {"scores": scores}), strict=True))
    np.testing.assert_array_equal(outputs["logits"], 2 * scores)
    token = outputs["next_token"]
    np.testing.assert_array_equal(token[:, :2], scores.argmax(-1)[:, :2])
    assert token[0, 1] == 1
    logit = np.take_along_axis(2 * scores, token[..., None], -1)[..., 0]
    np.testing.assert_array_equal(outputs["next_logit"], logit)
    assert np.isnan(outputs["next_logit"][1, 2]), "the runtime reports it"


@pytest.mark.parametrize(
    ("dtype", "name"), [(ir.DataType.FLOAT, "float32"), (ir.DataType.BFLOAT16, "bfloat16")], ids=["float32", "bfloat16"]
)
def test_the_contract_has_both_outputs(dtype: ir.DataType, name: str) -> None:
    model = doubled(dtype=dtype)
    GreedyOutput()(model)
    assert [(o.name, o.role, o.dtype, o.shape) for o in describe(model.graph).outputs] == [
        ("logits", "logits", name, SHAPE),
        ("next_token", "next_token", "int64", ("batch", "asked")),
        ("next_logit", "next_logit", name, ("batch", "asked")),
    ]


def test_a_graph_without_logits_stays() -> None:
    model = doubled("hidden_states")
    assert not GreedyOutput()(model).modified
    assert [output.name for output in model.graph.outputs] == ["logits"]
    assert operators(model) == ["Add"]
