"""Attention to keys and compressed keys, and blocks of tokens, in standard operators: against the torch operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.lowerings.attention import selection
from archc.compiler.lowerings.attention.blocks import QueryBlocks
from archc.compiler.lowerings.attention.joint import JointAttention
from archc.compiler.lowerings.attention.key_blocks import mask_of_blocks, rows_of_blocks
from archc.compiler.lowerings.attention.masks import AdditiveMasks
from archc.compiler.lowerings.attention.portable import StandardAttention
from archc.compiler.lowerings.attention.selected import Selections
from archc.compiler.lowerings.driver import Lowering
from archc.compiler.ops import key_blocks
from archc.compiler.ops.key_selection import select_keys
from tests.compiler.graphs import build, run, typed, value
from tests.compiler.lowerings.attention.problems import BOOL, FLOAT, INT64, lower

WIDTH, WINDOW, SLOTS, KEYS = 8, 5, 14, 2
Feeds = dict[str, NDArray[Any]]


@pytest.mark.parametrize(("new", "count"), [(1, 3), (2, 6), (7, 3), (11, 6), (0, 3)])
def test_rows_of_blocks(new: int, count: int) -> None:
    inputs = [value("x", FLOAT, "batch", "rows", 4), value("starts", INT64, "batch")]

    def make(op: GraphBuilder) -> Sequence[ir.Value]:
        rows = op.RowsOfBlocks(*inputs, block=3, count=count, domain=ARCHC)
        return [typed(rows, "y", FLOAT, "batch", "blocks", count, 4)]

    x, starts = np.random.default_rng(0).standard_normal((2, new + count - 1, 4)), np.array([4, 12])
    feeds = {"x": x.astype(np.float32), "starts": starts}
    (y,) = run(lower(build(inputs, make), RowsOfBlocks=rows_of_blocks), feeds)
    expected = key_blocks.rows_of_blocks(torch.from_numpy(feeds["x"]), torch.from_numpy(starts), 3, count)
    np.testing.assert_array_equal(y, expected.numpy())


@pytest.mark.parametrize("total", [1, 2, 3, 8, 9])
def test_mask_of_blocks(total: int) -> None:
    inputs = [value("mask", BOOL, "batch", 1, "seq", "total")]

    def make(op: GraphBuilder) -> Sequence[ir.Value]:
        blocks = op.MaskOfBlocks(*inputs, block=3, domain=ARCHC)
        return [typed(blocks, "y", BOOL, "batch", 1, "seq", "blocks")]

    mask = np.random.default_rng(1).random((2, 1, 4, total)) < 0.5
    (y,) = run(lower(build(inputs, make), MaskOfBlocks=mask_of_blocks), {"mask": mask})
    np.testing.assert_array_equal(y, key_blocks.mask_of_blocks(torch.from_numpy(mask), 3).numpy())


def problem(indexed: bool, sinks: bool, kv_heads: int) -> ir.Model:
    """Attention of 4 heads to a window and to compressed keys, all of them or those that an indexer selects."""
    inputs = {
        "q": value("q", FLOAT, "batch", 4, "seq", WIDTH),
        "k": value("k", FLOAT, "batch", kv_heads, "ring", WIDTH),
        "mask": value("mask", BOOL, "batch", 1, "seq", "live"),
        "compressed": value("compressed", FLOAT, "batch", kv_heads, "slots", WIDTH),
        "blocks": value("blocks", BOOL, "batch", 1, "seq", "blocks"),
    }
    if indexed:
        inputs |= {
            "index.q": value("index.q", FLOAT, "batch", 3, "seq", 5),
            "index.keys": value("index.keys", FLOAT, "batch", 1, "slots", 5),
            "index.weights": value("index.weights", FLOAT, "batch", "seq", 3),
        }
    if sinks:
        inputs["sinks"] = value("sinks", FLOAT, 4)

    def make(op: GraphBuilder) -> Sequence[ir.Value]:
        *operands, blocks = (inputs[name] for name in ("q", "k", "mask", "compressed", "blocks"))
        if indexed:
            select = [inputs[f"index.{name}"] for name in ("q", "keys", "weights")]
            selected = op.SelectKeys(*select, blocks, keys=KEYS, cached=1, domain=ARCHC)
            blocks = typed(selected, "selected", BOOL, "batch", 1, "seq", "blocks")
        y = op.JointAttention(*operands, blocks, inputs.get("sinks"), scale=0.4, cached=1, domain=ARCHC)
        return [typed(y, "y", FLOAT, "batch", 4, "seq", WIDTH)]

    return build([*inputs.values()], make)


def numbers(model: ir.Model, queries: int) -> Feeds:
    """Random numbers, also in slots that are not live, and masks of rows of two lengths."""
    random = np.random.default_rng(queries)
    live, blocks = 3 + queries, 9
    sizes = {"batch": 2, "seq": queries, "ring": live + 2, "live": live, "slots": SLOTS, "blocks": blocks}
    feeds: Feeds = {
        str(item.name): random.standard_normal(
            [sizes.get(str(size), size) for size in item.shape or ()]  # type: ignore[call-overload]
        ).astype(np.float32)
        for item in model.graph.inputs
        if item.dtype == FLOAT
    }
    last = 3 + np.arange(queries)[:, None]
    window = (np.arange(live) <= last) & (np.arange(live) > last - WINDOW)
    ends = np.array([9, 3])[:, None, None, None]
    feeds["mask"] = np.ascontiguousarray(np.broadcast_to(window, (2, 1, queries, live)))
    feeds["blocks"] = np.ascontiguousarray(np.broadcast_to(np.arange(blocks) < ends - 1, (2, 1, queries, blocks)))
    return feeds


def expected(feeds: Feeds) -> NDArray[Any]:
    tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
    blocks = tensors["blocks"]
    if "index.q" in tensors:
        select = [tensors[f"index.{name}"] for name in ("q", "keys", "weights")]
        blocks = select_keys(*select, blocks, KEYS, True)
    operands = [tensors[name] for name in ("q", "k", "mask", "compressed")]
    return key_blocks.joint_attention(*operands, blocks, 0.4, tensors.get("sinks"), True).numpy()


def on_cpu() -> dict[str, Lowering]:
    selections = Selections()
    joint = JointAttention(QueryBlocks(), AdditiveMasks(), selections.by_mask)
    return {"JointAttention": joint, "SelectKeys": selections.keys}


def portable() -> dict[str, Lowering]:
    return {"JointAttention": StandardAttention().joint, "SelectKeys": selection.select_keys}


# A call of a portable graph has at least one token.
CALLS = [(on_cpu, 0), *((lowerings, queries) for lowerings in (on_cpu, portable) for queries in (1, 2, 4, 130))]


@pytest.mark.parametrize(("lowerings", "queries"), CALLS)
@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("sinks", [False, True], ids=["plain", "sinks"])
@pytest.mark.parametrize("indexed", [False, True], ids=["all", "selected"])
def test_joint_attention(
    lowerings: Callable[[], dict[str, Lowering]], kv_heads: int, sinks: bool, indexed: bool, queries: int
) -> None:
    model = problem(indexed, sinks, kv_heads)
    feeds = numbers(model, queries)
    (y,) = run(lower(model, **lowerings()), feeds)
    np.testing.assert_allclose(y, expected(feeds), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("queries", "gathered"), [(2, True), (3, False)])
def test_few_queries_read_the_selected_rows_alone(queries: int, gathered: bool) -> None:
    model = problem(True, True, 1)
    feeds = numbers(model, queries)
    wanted = expected(feeds)
    tensors = [torch.from_numpy(feeds[f"index.{name}"]) for name in ("q", "keys", "weights")]
    read = select_keys(*tensors, torch.from_numpy(feeds["blocks"]), KEYS, True).numpy().any(axis=(1, 2))
    for row in range(2):
        feeds["compressed"][row, :, :9][:, ~read[row]] = np.nan
    (y,) = run(lower(model, **on_cpu()), feeds)
    # The product of a weight of zero with a number that is none is none.
    assert np.isfinite(y[0]).all() == gathered
    if gathered:
        np.testing.assert_allclose(y[0], wanted[0], rtol=0, atol=1e-5)
