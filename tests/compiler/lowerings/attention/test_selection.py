"""Selection of keys by standard operators, against the torch operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray

from archc.compiler.graph.domains import ARCHC
from archc.compiler.lowerings.attention.selection import select_blocks, select_keys
from archc.compiler.lowerings.attention.whole_blocks import select_whole_blocks
from archc.compiler.ops import key_selection
from tests.compiler.graphs import build, run, typed, value
from tests.compiler.lowerings.attention.problems import BATCH, BOOL, FLOAT, FLOAT16, MaskKind, lower, mask_of

HEADS, WIDTH, KEYS = 5, 6, 4


def graph(dtype: ir.DataType, slots: str) -> ir.Model:
    inputs = [
        value("q", dtype, "batch", HEADS, "seq", WIDTH),
        value("k", dtype, "batch", 1, slots, WIDTH),
        value("weights", dtype, "batch", "seq", HEADS),
        value("mask", BOOL, "batch", 1, "seq", "total"),
    ]

    def make(op: Any) -> list[ir.Value]:
        y = op.SelectKeys(*inputs, keys=KEYS, cached=int(slots == "capacity"), domain=ARCHC)
        return [typed(y, "y", BOOL, "batch", 1, "seq", "total")]

    return lower(build(inputs, make), SelectKeys=select_keys)


def feeds_of(seq: int, total: int, slots: int, kind: MaskKind, dtype: ir.DataType) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(total)
    shapes = {"q": (BATCH, HEADS, seq, WIDTH), "k": (BATCH, 1, slots, WIDTH), "weights": (BATCH, seq, HEADS)}
    numbers = {name: random.standard_normal(shape).astype(dtype.numpy()) for name, shape in shapes.items()}
    return numbers | {"mask": mask_of(kind, seq, total)}


@pytest.mark.parametrize("dtype", [FLOAT, FLOAT16], ids=["float32", "float16"])
@pytest.mark.parametrize("slots", ["total", "capacity"])
@pytest.mark.parametrize("kind", ["causal", "all", "nothing"])
@pytest.mark.parametrize(("seq", "total"), [(3, 11), (1, 11), (4, 4), (1, 2), (0, 0)])
def test_equals_the_torch_operator(seq: int, total: int, kind: MaskKind, slots: str, dtype: ir.DataType) -> None:
    cached = slots == "capacity"
    feeds = feeds_of(seq, total, total + 3 if cached else total, kind, dtype)
    expected = key_selection.select_keys(*map(torch.from_numpy, feeds.values()), KEYS, cached)
    (result,) = run(graph(dtype, slots), feeds)
    np.testing.assert_array_equal(result, expected.numpy())
    assert result.sum(-1).max(initial=0) == (0 if kind == "nothing" else min(KEYS, total))


def test_of_equal_scores_the_first_keys_are_selected() -> None:
    feeds = feeds_of(2, 9, 9, "all", FLOAT)
    feeds["k"][:, :, [0, 1, 3, 4, 6, 8]] = 0.0
    feeds["weights"] = abs(feeds["weights"])
    expected = key_selection.select_keys(*map(torch.from_numpy, feeds.values()), KEYS)
    (result,) = run(graph(FLOAT, "total"), feeds)
    np.testing.assert_array_equal(result, expected.numpy())
    assert result[:, :, :, 0].all()
    assert not result[..., 8].any()


BLOCKS = {"heads": 10, "block": 3, "blocks": 2, "last": 1}


def block_graph(slots: str, options: dict[str, int]) -> ir.Model:
    inputs = [
        value("q", FLOAT, "batch", HEADS, "seq", WIDTH),
        value("k", FLOAT, "batch", 1, slots, WIDTH),
        value("mask", BOOL, "batch", 1, "seq", "total"),
    ]

    def make(op: Any) -> list[ir.Value]:
        y = op.SelectBlocks(*inputs, **options, cached=int(slots == "capacity"), domain=ARCHC)
        return [typed(y, "y", BOOL, "batch", options["heads"], "seq", "total")]

    return lower(build(inputs, make), SelectBlocks=select_blocks)


@pytest.mark.parametrize("slots", ["total", "capacity"])
@pytest.mark.parametrize("kind", ["causal", "nothing"])
@pytest.mark.parametrize("changes", [{}, {"last": 2}, {"last": 0}, {"block": 1}, {"blocks": 9}], ids=str)
@pytest.mark.parametrize(("seq", "total"), [(3, 11), (1, 12), (4, 4), (1, 2), (0, 4)])
def test_blocks_equal_the_torch_operator(
    seq: int, total: int, changes: dict[str, int], kind: MaskKind, slots: str
) -> None:
    cached, options = slots == "capacity", BLOCKS | changes
    feeds = feeds_of(seq, total, total + 3 if cached else total, kind, FLOAT)
    del feeds["weights"]
    expected = key_selection.select_blocks(*map(torch.from_numpy, feeds.values()), *options.values(), cached)
    (result,) = run(block_graph(slots, options), feeds)
    np.testing.assert_array_equal(result, expected.numpy())
    most = options["block"] * options["blocks"]
    assert result.sum(-1).max(initial=0) <= (0 if kind == "nothing" else min(most, total))


@pytest.mark.parametrize("slots", ["total", "capacity"])
@pytest.mark.parametrize("kind", ["causal", "nothing"])
@pytest.mark.parametrize("weighted", [False, True], ids=["sum", "weighted"])
@pytest.mark.parametrize(("block", "blocks"), [(3, 2), (2, 9), (4, 1)])
@pytest.mark.parametrize(("seq", "total"), [(3, 11), (1, 12), (4, 4), (1, 2), (0, 4)])
def test_whole_blocks_equal_the_torch_operator(
    seq: int, total: int, block: int, blocks: int, kind: MaskKind, slots: str, weighted: bool
) -> None:
    cached = slots == "capacity"
    inputs = [
        value("q", FLOAT, "batch", HEADS, "seq", WIDTH),
        value("k", FLOAT, "batch", 1, slots, WIDTH),
        value("mask", BOOL, "batch", 1, "seq", "total"),
        *([value("weights", FLOAT, "batch", "seq", HEADS)] if weighted else []),
    ]

    def make(op: Any) -> list[ir.Value]:
        y = op.SelectWholeBlocks(*inputs, block=block, blocks=blocks, cached=int(cached), domain=ARCHC)
        return [typed(y, "y", BOOL, "batch", 1, "seq", "total")]

    feeds = feeds_of(seq, total, total + 3 if cached else total, kind, FLOAT)
    tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
    if not weighted:
        del feeds["weights"]
    weights = tensors["weights"] if weighted else None
    expected = key_selection.select_whole_blocks(
        tensors["q"], tensors["k"], tensors["mask"], weights, block, blocks, cached
    )
    (result,) = run(lower(build(inputs, make), SelectWholeBlocks=select_whole_blocks), feeds)
    np.testing.assert_array_equal(result, expected.numpy())
    most = 0 if kind == "nothing" else min(total, block * blocks + block - 1)
    assert result.sum(-1).max(initial=0) <= most
