"""Masks as long as their caches: no copy of the live part, and a step reads as many slots as its mask has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from archc.compiler.build import build
from archc.compiler.contract.ports import mark
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.values import subgraphs
from archc.compiler.passes.read_full_caches import ReadFullCaches
from archc.plan import Plan
from archc.runtime.engine import load
from tests.compiler.graphs import operators, run, typed
from tests.compiler.lowerings.attention.cached import (
    CAPACITY,
    CachedAttention,
    CachedLatent,
    Extra,
    Values,
    lower_float,
    nothing,
)
from tests.compiler.lowerings.attention.problems import BOOL, FLOAT

PROBLEMS = {
    "keys-and-values": CachedAttention(),
    "latents": CachedLatent(),
    "ring": CachedAttention(slots="ring_5", state="ring", window=5),
}


def mask_of(model: ir.Model) -> ir.Value:
    return next(value for value in model.graph.inputs if value.name == "mask")


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_a_mask_gets_the_length_of_its_caches(problem: CachedAttention) -> None:
    model = problem.model()
    assert ReadFullCaches()(model).modified
    assert str(mask_of(model).shape) == f"[batch,1,seq,{problem.slots}]"
    lower_float(model)
    assert "Slice" not in operators(model)
    feeds = replace(problem, slots=CAPACITY).feeds(CAPACITY)
    expected = problem.expected(feeds, problem.presents(feeds))
    np.testing.assert_allclose(run(model, feeds)[0], expected, rtol=0, atol=1e-5)


def selection(slots: str) -> Extra:
    """Select keys by a cache with this axis, and read the other cache under the selection."""

    def extra(op: GraphBuilder, values: Values) -> Sequence[ir.Value]:
        cache = values["present.latent"] if slots == "capacity" else _update(op, values, "latent", slots)
        keys = op.SelectKeys(values["q"], cache, values["q"], values["mask"], keys=2, cached=1, domain=ARCHC)
        typed(keys, "selected", BOOL, "batch", 1, "seq", "total")
        operands = [values[name] for name in ("q", "rotated", "present.latent", "k_up", "v_up")]
        y = op.LatentAttention(*operands, keys, scale=1.0, cached=1, domain=ARCHC)
        return [keys, typed(y, "second", FLOAT, "batch", 3, "seq", 5)]

    return extra


def test_the_selection_of_an_indexer_gets_the_length_with_its_mask() -> None:
    model = CachedLatent().model(selection("capacity"))
    assert ReadFullCaches()(model).modified
    selected = next(value for value in model.graph.outputs if value.name == "selected")
    assert str(selected.shape) == str(mask_of(model).shape) == "[batch,1,seq,capacity]"


# One negative graph for each guard.


def watched(name: str) -> Extra:
    """Read a cache with an operator that is no attention."""

    def extra(op: GraphBuilder, values: Values) -> Sequence[ir.Value]:
        cache = values[f"present.{name}"]
        return [typed(op.Neg(cache), "watched", FLOAT, *cache.shape)]

    return extra


def second_layer(op: GraphBuilder, values: Values) -> Sequence[ir.Value]:
    """Add attention under the same mask over caches of another size."""
    larger = [_update(op, values, name, "larger") for name in ("key", "value")]
    y = op.Attention(values["q"], *larger, values["mask"], scale=1.0, softcap=0.0, cached=1, domain=ARCHC)
    return [typed(y, "second", FLOAT, "batch", 4, "seq", 8)]


def _update(op: GraphBuilder, values: Values, name: str, slots: str) -> ir.Value:
    past = values[f"past.{name}"]
    written = op.UpdateCache(past, values[f"new.{name}"], values["write_indices"], mode="linear", domain=ARCHC)
    shape = ["batch", past.shape[1], slots, past.shape[3]]
    return typed(written, f"{slots}.{name}", FLOAT, *shape)


def values_of_another_size(model: ir.Model) -> None:
    for item in (*model.graph.inputs, *model.graph.outputs):
        if item.name in ("past.value", "present.value"):
            item.shape = ir.Shape(["batch", 2, "other", 8])


def no_mask(model: ir.Model) -> None:
    mark(mask_of(model), {"role": "positions"})


def no_update(model: ir.Model) -> None:
    """Read the key cache as the call finds it."""
    attention = next(node for node in model.graph if node.op_type == "Attention")
    attention.replace_input_with(1, next(item for item in model.graph.inputs if item.name == "past.key"))


def unchanged(model: ir.Model) -> None:
    """Leave the graph as it is."""


GUARDS: dict[str, tuple[CachedAttention, Extra, Callable[[ir.Model], None]]] = {
    "keys-read-elsewhere": (CachedAttention(), watched("key"), unchanged),
    "values-read-elsewhere": (CachedAttention(), watched("value"), unchanged),
    "latents-read-elsewhere": (CachedLatent(), watched("latent"), unchanged),
    "caches-of-two-sizes": (CachedAttention(), second_layer, unchanged),
    "an-indexer-of-another-size": (CachedLatent(), selection("larger"), unchanged),
    "keys-and-values-of-two-sizes": (CachedAttention(), nothing, values_of_another_size),
    "states-of-the-source": (CachedAttention(state="cross"), nothing, unchanged),
    "fixed-states": (CachedAttention(state="fixed"), nothing, unchanged),
    "no-mask": (CachedAttention(), nothing, no_mask),
    "no-update": (CachedAttention(), nothing, no_update),
}


@pytest.mark.parametrize(("problem", "extra", "change"), GUARDS.values(), ids=GUARDS)
def test_other_masks_stay(problem: CachedAttention, extra: Extra, change: Callable[[ir.Model], None]) -> None:
    model = problem.model(extra)
    change(model)
    assert not ReadFullCaches()(model).modified
    assert str(mask_of(model).shape) == "[batch,1,seq,total]"


def test_the_calls_own_keys_have_no_cache_to_be_as_long_as() -> None:
    model = CachedAttention().model()
    attention = next(node for node in model.graph if node.op_type == "Attention")
    attention.attributes["cached"] = ir.AttrInt64("cached", 0)
    assert not ReadFullCaches()(model).modified


# Plans.

SPEC = """
family: cached
extends: llama
sizes:
  tiny:
    {vocab_size: 50, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4,
     num_key_value_heads: 2, max_position_embeddings: 512}
"""


def without_loops(graph: ir.Graph) -> Iterator[ir.Node]:
    """Yield the nodes of a graph and its branches; a Loop over blocks of queries reads parts of caches."""
    for node in graph:
        yield node
        if node.op_type != "Loop":
            for inner in subgraphs(node):
                yield from without_loops(inner)


@pytest.mark.parametrize("kv", [None, "int8"], ids=["float", "int8"])
@pytest.mark.parametrize("window", ["none", "5 if layer == 0 else none"], ids=["growing", "ring-and-growing"])
def test_caches_of_a_plan_are_read_whole(window: str, kv: str | None, tmp_path: Path) -> None:
    spec = tmp_path / "cached.yaml"
    spec.write_text(SPEC)
    path = build(spec, random=3, size="tiny", out=tmp_path / "p.plan", kv=kv, overrides=(f"attention.window={window}",))
    with Plan(path) as plan:
        graph = ir.serde.deserialize_model(onnx.load_from_string(bytes(plan.read("model.onnx")))).graph
    caches = {output.name for output in graph.outputs if (output.name or "").startswith("present.")}
    readers = [node for node in without_loops(graph) if caches & {v.name for v in node.inputs if v is not None}]
    assert len(caches) == (8 if kv else 4)
    assert len(readers) >= len(caches)
    assert "Slice" not in {node.op_type for node in readers}
    engine = load(path, threads=1)
    lengths = {item.shape[-1] for item in engine.manifest.inputs if item.role == "mask"}
    assert lengths == ({"capacity", "ring_5"} if window != "none" else {"capacity"})
    # A mask is as long as the live slots need, whatever the capacity.
    sequences = engine.sequences(1, capacity=300)
    first = sequences.append([[4, 5, 6]])
    assert sequences.capacity == 320
    again = engine.sequences(1)
    assert abs(again.append([[4, 5, 6]]) - first).max() < 1e-5
    assert again.capacity == 64
