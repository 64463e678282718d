"""Operators of opset 23 in those of opset 20: the same numbers in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.lowerings.driver import Lower
from archc.compiler.lowerings.older import OPSET, OlderOpset, rms_norm, rotary
from tests.compiler.graphs import build, run, typed, value

FLOAT = ir.DataType.FLOAT
RNG = np.random.default_rng(0)


def check(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> None:
    """Compare a model with its lowered form."""
    expected = run(model, feeds)
    lowered = model.clone()
    Lower({}, {"RMSNormalization": rms_norm, "RotaryEmbedding": rotary})(lowered)
    OlderOpset()(lowered)
    assert lowered.graph.opset_imports[""] == OPSET
    for found, wanted in zip(run(lowered, feeds), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-6)


@pytest.mark.parametrize("interleaved", [0, 1], ids=["halves", "interleaved"])
@pytest.mark.parametrize("width", [8, 12], ids=["whole", "partial"])
def test_rotary(interleaved: int, width: int) -> None:
    x, cos, sin = (
        value(name, FLOAT, *shape) for name, shape in zip("xcs", ((2, 3, 5, width), *[(2, 5, 4)] * 2), strict=True)
    )

    def nodes(op: GraphBuilder) -> list[ir.Value]:
        partial = 0 if width == 8 else 8
        y = op.RotaryEmbedding(x, cos, sin, interleaved=interleaved, rotary_embedding_dim=partial)
        return [typed(y, "y", FLOAT, 2, 3, 5, width)]

    feeds = {
        v.name or "": RNG.standard_normal([int(size) for size in v.shape or ()]).astype(np.float32)
        for v in (x, cos, sin)
    }
    check(build([x, cos, sin], nodes), feeds)


def test_rms_norm() -> None:
    x, scale = value("x", FLOAT, 2, 5, 6), value("scale", FLOAT, 6)

    def nodes(op: GraphBuilder) -> list[ir.Value]:
        return [typed(op.RMSNormalization(x, scale, axis=-1, epsilon=0.1, stash_type=1), "y", FLOAT, 2, 5, 6)]

    feeds = {"x": RNG.standard_normal((2, 5, 6)).astype(np.float32), "scale": RNG.standard_normal(6).astype(np.float32)}
    check(build([x, scale], nodes), feeds)


def test_an_operator_of_a_newer_opset_is_a_fault() -> None:
    x = value("x", FLOAT, 2, 2)
    model = build([x], lambda op: [typed(op.Swish(x), "y", FLOAT, 2, 2)])
    with pytest.raises(AssertionError, match="Swish"):
        OlderOpset()(model)
