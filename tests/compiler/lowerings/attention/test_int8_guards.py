"""Caches that stay in float under `Int8Caches`: one negative graph for each guard."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.lowerings.attention.int8_caches import Int8Caches
from tests.compiler.graphs import operators, typed
from tests.compiler.lowerings.attention.cached import (
    CachedAttention,
    Extra,
    Values,
    nothing,
)
from tests.compiler.lowerings.attention.int8 import (
    lower_int8,
    outputs,
)
from tests.compiler.lowerings.attention.problems import FLOAT, FLOAT16, lower

INT8 = ir.DataType.INT8
HEADS = CachedAttention()


def watched(op: GraphBuilder, values: Values, names: Sequence[str] = ("key", "value")) -> Sequence[ir.Value]:
    """Read caches with another operator."""
    copies = {name: op.Neg(values[f"present.{name}"]) for name in names}
    return [typed(copy, f"watched.{name}", FLOAT, "batch", 2, "capacity", 8) for name, copy in copies.items()]


def swapped(op: GraphBuilder, values: Values) -> Sequence[ir.Value]:
    """Read the keys as values and the values as keys in a second attention."""
    operands = [values[name] for name in ("q", "present.value", "present.key", "mask")]
    y = op.Attention(*operands, scale=0.4, softcap=0.0, cached=1, domain=ARCHC)
    return [typed(y, "swapped", FLOAT, "batch", 4, "seq", 8)]


def read_past(op: GraphBuilder, values: Values) -> Sequence[ir.Value]:
    """Read both caches before they are written."""
    copies = [op.Neg(values[f"past.{name}"]) for name in ("key", "value")]
    return [typed(copy, f"before.{index}", FLOAT, "batch", 2, "capacity", 8) for index, copy in enumerate(copies)]


FLOAT_CACHES = {
    "float16": (CachedAttention(dtype=FLOAT16), nothing),
    "replaced-by-every-call": (CachedAttention(state="fixed"), nothing),
    "of-the-source": (CachedAttention(state="cross"), nothing),
    "read-by-another-operator": (HEADS, watched),
    "keys-and-values-at-once": (HEADS, swapped),
    "read-before-it-is-written": (HEADS, read_past),
}


@pytest.mark.parametrize(("problem", "extra"), FLOAT_CACHES.values(), ids=FLOAT_CACHES)
def test_other_caches_stay_in_float(problem: CachedAttention, extra: Extra) -> None:
    model, original = lower_int8(problem, extra), problem.model(extra).graph
    for ends in ("inputs", "outputs"):
        now, before = ([(v.name, v.dtype, str(v.shape)) for v in getattr(g, ends)] for g in (model.graph, original))
        assert now == before
    assert not {"MatMulInteger", "DynamicQuantizeLinear", "QuantizeLinear"} & {
        node.op_type for node in model.graph.all_nodes()
    }
    feeds = problem.feeds()
    presents = problem.presents(feeds)
    results = outputs(model, feeds)
    tolerance = 5e-3 if problem.dtype == FLOAT16 else 2e-6
    np.testing.assert_allclose(results["y"], problem.expected(feeds, presents), rtol=0, atol=tolerance)
    np.testing.assert_array_equal(results["present.key"], presents["key"])


def test_one_cache_may_stay_while_its_partner_is_quantized() -> None:
    graph = lower_int8(HEADS, partial(watched, names=("value",))).graph
    assert {output.name: output.dtype for output in graph.outputs} == {
        "y": FLOAT,
        "present.key": INT8,
        "present.key.scale": FLOAT,
        "present.value": FLOAT,
        "watched.value": FLOAT,
    }
    assert "MatMulInteger" in {node.op_type for node in graph.all_nodes()}


def test_a_cache_that_nothing_reads_stays_in_float() -> None:
    model = HEADS.model()
    attention = next(node for node in model.graph if node.op_type == "Attention")
    del model.graph.outputs[0]
    model.graph.remove(attention, safe=True)
    lower(model, UpdateCache=Int8Caches().update)
    assert operators(model) == ["TensorScatter"] * 2
    assert {item.dtype for item in model.graph.outputs} == {FLOAT}


def test_an_entry_without_heads_stays_in_float() -> None:
    """A cache [B, C, D] has no axis of heads to put scales next to."""
    model = HEADS.model()
    for item in (*model.graph.inputs, *model.graph.outputs):
        if item.shape is not None and len(item.shape) == 4 and item.name != "mask":
            item.shape = ir.Shape([item.shape[0], *item.shape[2:]])
    caches = Int8Caches()
    updates = [node for node in model.graph if node.op_type == "UpdateCache"]
    for node in updates:
        written = caches.update(node, GraphBuilder(model.graph, "update"))
        assert isinstance(written, ir.Value)
        assert written.producer().op_type == "TensorScatter"  # type: ignore[union-attr]
