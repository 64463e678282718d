"""Sliding windows in rings: the same logits as a full forward pass, in memory that does not grow with the sequence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from archc.compiler.build import bind, build, load_torch, open_slots
from archc.compiler.contract.rings import find_rings, longest_call
from archc.compiler.contract.shared_inputs import find_shared_inputs
from archc.compiler.modules.model import meta_model
from archc.runtime.engine import Engine, load

SPEC = """
family: windows
extends: llama
sizes:
  tiny:
    {vocab_size: 50, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 3, num_attention_heads: 4,
     num_key_value_heads: 2, max_position_embeddings: 512}
attention:
  window: "5 if layer == 0 else 9 if layer == 1 else none"
  chunked: layer == 1
"""
LENGTH = 300


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rings") / "windows.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture(scope="module")
def engine(spec: Path) -> Engine:
    return load(build(spec, random=3, size="tiny", out=spec.with_name("engine.plan")), threads=1)


@pytest.fixture(scope="module")
def rows() -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(0, 50, (2, LENGTH))


@pytest.fixture(scope="module")
def wanted(spec: Path, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Logits of the torch module for whole rows, its masks made here."""
    bound = bind(spec, None, "tiny", ())
    model = meta_model(bound)
    module = load_torch(model, open_slots(bound, model, None, 3))
    place = torch.arange(LENGTH)
    distance = place[:, None] - place
    masks = {
        name: ((distance >= 0) & (distance < (mask.window or LENGTH))).expand(2, 1, LENGTH, LENGTH)
        for name, mask in module.shared_inputs.masks.items()
    }
    masks["attn_mask.chunk_9"] = masks["attn_mask.chunk_9"] & (place[:, None] // 9 == place // 9)
    positions = torch.arange(LENGTH).expand(2, LENGTH)
    with torch.no_grad():
        logits = module(torch.from_numpy(rows), masks, positions, logit_positions=positions).logits
    assert logits is not None
    return logits.numpy()


def test_only_windows_are_kept_in_rings(engine: Engine) -> None:
    kinds = {(state.kind, state.window) for state in engine.manifest.state}
    assert kinds == {("kv", None), ("ring", 5), ("ring", 9)}
    assert engine.manifest.limits.max_call == 64


@pytest.mark.parametrize("sizes", [[1], [7], [64], [3, 1, 29, 2, 64, 11], [LENGTH]], ids=str)
def test_calls_of_any_size_give_the_full_forward(engine, rows, wanted, sizes) -> None:
    sequences = engine.sequences(2)
    start, turn = 0, 0
    while start < LENGTH:
        end = min(start + sizes[turn % len(sizes)], LENGTH)
        got = sequences.append(rows[:, start:end], logits="all")
        assert np.abs(got - wanted[:, start:end]).max() < 1e-4
        start, turn = end, turn + 1
    slots = {binding.buffer.shape[2] for binding in sequences._cache.bindings}
    assert slots == {128, sequences.capacity}


def test_rows_that_rest_keep_what_they_have_seen(engine, rows, wanted) -> None:
    """Padding is written into the rings of a row that does not advance, again and again."""
    sequences = engine.sequences(2)
    taken = np.zeros(2, np.int64)
    random = np.random.default_rng(1)
    while (taken < LENGTH).any():
        new = np.minimum(random.choice([0, 1, 5, 64], 2), LENGTH - taken)
        if not new.any():
            continue
        ids = np.full((2, int(new.max())), -1)
        for row, count in enumerate(new):
            ids[row, :count] = rows[row, taken[row] : taken[row] + count]
        got = sequences.append(ids, logits="last")
        taken += new
        for row in np.flatnonzero(new):
            assert np.abs(got[row] - wanted[row, taken[row] - 1]).max() < 1e-4


def test_the_last_logits_of_rows_that_end_in_different_calls(engine, rows, wanted) -> None:
    ids = rows.copy()
    ids[0, 70:] = -1
    got = engine.sequences(2).append(ids)
    assert np.abs(got[0] - wanted[0, 69]).max() < 1e-4
    assert np.abs(got[1] - wanted[1, -1]).max() < 1e-4


@pytest.mark.parametrize(
    ("change", "call", "windows"),
    [
        ((), 64, {0: 5, 1: 9}),
        (("attention.window=100",), 100, {0: 100, 1: 100, 2: 100}),
        (("attention.window=400",), 400, {}),  # a ring would be larger than the longest sequence
        (("position=alibi",), 64, {}),  # its bias counts the keys of a mask as positions
        (("attention.window=none", "attention.chunked=false"), 512, {}),
        (("position.scaling={kind: dynamic, factor: 2.0, original_max_position_embeddings: 512}",), None, {}),
    ],
    ids=["windows of two layers", "windows of all layers", "wide window", "alibi", "no window", "dynamic scaling"],
)
def test_what_may_be_a_ring(spec: Path, change: tuple[str, ...], call: int | None, windows: dict[int, int]) -> None:
    bound = bind(spec, None, "tiny", change)
    assert longest_call(bound) == call
    assert find_rings(bound, find_shared_inputs(bound), bound.context).windows == windows


def test_the_portable_graph_has_growing_caches(spec: Path, tmp_path: Path) -> None:
    folder = build(spec, random=3, size="tiny", out=tmp_path / "portable", target="onnx")
    manifest = json.loads((folder / "archc.json").read_text("utf-8"))
    assert {state["kind"] for state in manifest["state"]} == {"kv"}
    assert not any(item["mask"]["ring"] for item in manifest["inputs"] if item["mask"])
