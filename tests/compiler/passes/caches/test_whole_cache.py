"""No copy of the cache: no slice is left in the graph, and a step reads as many slots as its masks say."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from archc.compiler.build import build
from archc.plan import Plan
from archc.runtime.engine import load

SPEC = """
family: cached
extends: llama
sizes:
  tiny:
    {vocab_size: 50, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4,
     num_key_value_heads: 2, max_position_embeddings: 512}
"""


@pytest.mark.parametrize("kv", [None, "int8"])
@pytest.mark.parametrize("window", ["none", "5 if layer == 0 else none"])
def test_caches_are_read_whole(window: str, kv: str | None, tmp_path: Path) -> None:
    spec = tmp_path / "cached.yaml"
    spec.write_text(SPEC)
    path = build(spec, random=3, size="tiny", out=tmp_path / "p.plan", kv=kv, overrides=(f"attention.window={window}",))
    with Plan(path) as plan:
        graph = onnx.load_from_string(bytes(plan.read("model.onnx"))).graph
    caches = {output.name for output in graph.output if output.name.startswith("present.")}
    readers = {node.op_type for node in graph.node if caches.intersection(node.input)}
    assert caches
    assert "Slice" not in readers
    engine = load(path, threads=1)
    lengths = {item.shape[-1] for item in engine.manifest.inputs if item.role == "mask"}
    assert lengths == ({"capacity", "ring_5"} if window != "none" else {"capacity"})
    # A mask is as long as what it hides, whatever the cache has room for.
    sequences = engine.sequences(1, capacity=300)
    first = sequences.append([[4, 5, 6]])
    assert sequences.capacity == 320
    again = engine.sequences(1)
    assert abs(again.append([[4, 5, 6]]) - first).max() < 1e-5
    assert again.capacity == 64
