"""The likeliest token from the graph itself: the first of the greatest, as the host would choose it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.passes.next_token import find_next_token
from archc.plan.manifest import Output
from tests.compiler.graphs import model, run, value

SHAPE = ("batch", "asked", 6)
LOGITS = Output(name="logits", role="logits", dtype="float32", shape=SHAPE)


def doubled() -> ir.Model:
    """logits = 2 · scores."""
    scores = value("scores", ir.DataType.FLOAT, *SHAPE)
    logits = value("logits", ir.DataType.FLOAT, *SHAPE)
    return model([scores], [ir.Node("", "Add", [scores, scores], outputs=[logits])], [logits])


def test_token_and_logit_are_those_of_the_greatest() -> None:
    graph = doubled()
    outputs = find_next_token(graph, [LOGITS])
    assert [(o.role, o.dtype, o.shape) for o in outputs[1:]] == [
        ("next_token", "int64", ("batch", "asked")),
        ("next_logit", "float32", ("batch", "asked")),
    ]
    scores = np.random.default_rng(0).standard_normal((2, 3, 6)).astype(np.float32)
    scores[0, 1] = [0, 5, 1, 5, 5, 2]  # the first of equals
    scores[1, 2] = np.nan
    found = dict(zip((output.name for output in graph.graph.outputs), run(graph, {"scores": scores}), strict=True))
    np.testing.assert_array_equal(found["logits"], 2 * scores)
    token = found["next_token"]
    np.testing.assert_array_equal(token[:, :2], scores.argmax(-1)[:, :2])
    assert token[0, 1] == 1
    np.testing.assert_array_equal(found["next_logit"], np.take_along_axis(2 * scores, token[..., None], -1)[..., 0])
    assert np.isnan(found["next_logit"][1, 2])  # so that the runtime notices


def test_a_graph_without_logits_stays_as_it_is() -> None:
    graph = doubled()
    hidden = Output(name="logits", role="hidden_states", dtype="float32", shape=SHAPE)
    assert find_next_token(graph, [hidden]) == [hidden]
    assert [output.name for output in graph.graph.outputs] == ["logits"]
