"""Attention to the keys of an indexer: rows that are gathered for few queries, a mask for many; against torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray

from archc.compiler.contract.ports import mark_state_input
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.lowerings.attention.blocks import QueryBlocks
from archc.compiler.lowerings.attention.caches import FloatCaches
from archc.compiler.lowerings.attention.grouped import GroupedAttention
from archc.compiler.lowerings.attention.int8_caches import Int8Caches
from archc.compiler.lowerings.attention.latent import GroupedLatentAttention
from archc.compiler.lowerings.attention.masks import AdditiveMasks
from archc.compiler.lowerings.attention.selected import Selections
from archc.compiler.ops import key_selection
from archc.compiler.ops import operators as ops
from archc.compiler.ops.latent_attention import latent_attention
from tests.compiler.graphs import build, run, typed, value
from tests.compiler.lowerings.attention.problems import BOOL, FLOAT, INT64, lower

LENGTHS = np.array([9, 2])
"""Tokens of each row before the call."""
CAPACITY, WIDTH = 20, 8
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Indexed:
    """Attention over caches that a call writes first, to the keys that an indexer selects."""

    heads: int = 4
    kv_heads: int = 2
    #: Index heads: one selection for all heads of the attention, or a selection for each group of them.
    groups: int | None = None
    keys: int = 4
    block: int = 2
    #: Caches are written before keys are selected.
    early: bool = False
    #: A latent and a rotated key next to it, if the attention is latent.
    latent: tuple[int, int] | None = None

    @property
    def caches(self) -> dict[str, tuple[int, int]]:
        """The heads and the width of each cache."""
        if self.latent is not None:
            return {"latent": (1, sum(self.latent))}
        return {"key": (self.kv_heads, WIDTH), "value": (self.kv_heads, WIDTH)}

    @property
    def index_heads(self) -> int:
        return self.groups or 3

    def inputs(self) -> dict[str, ir.Value]:
        shapes: dict[str, tuple[int | str, ...]] = {
            "q": ("batch", self.heads, "seq", WIDTH),
            "index.q": ("batch", self.index_heads, "seq", 5),
            "index.keys": ("batch", 1, "capacity", 5),
        }
        if self.groups is None:
            shapes["index.weights"] = ("batch", "seq", self.index_heads)
        if self.latent is not None:
            width, rope = self.latent
            shapes |= {"rotated": ("batch", self.heads, "seq", rope), "k_up": (self.heads * WIDTH, width)}
            shapes |= {"v_up": (self.heads * 3, width)}
        for name, (heads, width) in self.caches.items():
            shapes |= {
                f"past.{name}": ("batch", heads, "capacity", width),
                f"new.{name}": ("batch", heads, "seq", width),
            }
        inputs = {name: value(name, FLOAT, *shape) for name, shape in shapes.items()}
        for name in self.caches:
            mark_state_input(inputs[f"past.{name}"], "kv", f"present.{name}")
        return inputs | {
            "mask": value("mask", BOOL, "batch", 1, "seq", "capacity"),
            "write_indices": value("write_indices", INT64, "batch"),
        }

    def model(self) -> ir.Model:
        """Return the graph: y and the caches."""
        values = self.inputs()

        def make(op: GraphBuilder) -> Sequence[ir.Value]:
            presents = self.updates(op, values) if self.early else {}
            select = (values["index.q"], values["index.keys"])
            if self.groups is None:
                selected = op.SelectKeys(
                    *select, values["index.weights"], values["mask"], keys=self.keys, cached=1, domain=ARCHC
                )
            else:
                options = {"heads": self.heads, "block": self.block, "blocks": self.keys // self.block, "last": 1}
                selected = op.SelectBlocks(*select, values["mask"], **options, cached=1, domain=ARCHC)
            typed(selected, "selected", BOOL, "batch", 1 if self.groups is None else self.heads, "seq", "capacity")
            presents = presents or self.updates(op, values)
            if self.latent is None:
                y = op.Attention(
                    values["q"], *presents.values(), selected, scale=0.4, softcap=0.0, cached=1, domain=ARCHC
                )
            else:
                operands = [values["q"], values["rotated"], *presents.values(), values["k_up"], values["v_up"]]
                y = op.LatentAttention(*operands, selected, scale=0.4, cached=1, domain=ARCHC)
            typed(y, "y", FLOAT, "batch", self.heads, "seq", 3 if self.latent else WIDTH)
            return [y, *presents.values()]

        return build([*values.values()], make)

    def updates(self, op: GraphBuilder, values: Mapping[str, ir.Value]) -> dict[str, ir.Value]:
        """Build the updates of the caches."""
        presents = {}
        for name in self.caches:
            past = values[f"past.{name}"]
            operands = (past, values[f"new.{name}"], values["write_indices"])
            made = op.UpdateCache(*operands, mode="linear", domain=ARCHC)
            presents[name] = typed(made, f"present.{name}", FLOAT, *past.shape)
        return presents

    def feeds(self, queries: int) -> dict[str, NDArray[Any]]:
        """Return random numbers, also in slots that hold no token, and a causal mask as long as the caches."""
        random = np.random.default_rng(queries)
        sizes = {"batch": len(LENGTHS), "seq": queries, "capacity": CAPACITY}
        feeds: dict[str, NDArray[Any]] = {
            name: random.standard_normal([sizes.get(str(size), size) for size in item.shape]).astype(np.float32)
            for name, item in self.inputs().items()
            if item.dtype == FLOAT
        }
        last = LENGTHS[:, None] + np.arange(queries)
        feeds["mask"] = np.ascontiguousarray((np.arange(CAPACITY) <= last[..., None])[:, None])
        return feeds | {"write_indices": LENGTHS}

    def selected(self, feeds: Arrays) -> NDArray[np.bool_]:
        """Return the mask of the selected keys, by the torch operators."""
        tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
        select = (tensors["index.q"], tensors["index.keys"])
        if self.groups is None:
            mask = key_selection.select_keys(*select, tensors["index.weights"], tensors["mask"], self.keys, True)
        else:
            blocks = self.keys // self.block
            mask = key_selection.select_blocks(*select, tensors["mask"], self.heads, self.block, blocks, 1, True)
        return mask.numpy()

    def presents(self, feeds: Arrays) -> dict[str, torch.Tensor]:
        """Return the caches after the call, by the torch operator."""
        return {
            name: ops.update_cache(
                *(torch.from_numpy(feeds[item]) for item in (f"past.{name}", f"new.{name}", "write_indices"))
            )
            for name in self.caches
        }

    def expected(self, feeds: Arrays) -> NDArray[Any]:
        """Return attention under the mask of the selected keys, by the torch operators."""
        tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
        mask, presents = torch.from_numpy(self.selected(feeds)), self.presents(feeds).values()
        if self.latent is None:
            return ops.attention(tensors["q"], *presents, mask, None, 0.4, 0.0, None, True).numpy()
        operands = [tensors["q"], tensors["rotated"], *presents, tensors["k_up"], tensors["v_up"]]
        return latent_attention(*operands, mask, 0.4, cached=True).numpy()


def lowered(model: ir.Model, int8: bool = False) -> ir.Model:
    selections, blocks, masks = Selections(), QueryBlocks(), AdditiveMasks()
    caches = Int8Caches(selections) if int8 else FloatCaches()
    return lower(
        model,
        Attention=GroupedAttention(caches, blocks, masks, selections.by_mask),
        LatentAttention=GroupedLatentAttention(caches, blocks, masks, selections.by_mask),
        SelectBlocks=selections.blocks,
        SelectKeys=selections.keys,
        UpdateCache=caches.update,
    )


PROBLEMS = {
    "grouped": Indexed(),
    "one-key-head": Indexed(kv_heads=1),
    "latent": Indexed(latent=(12, 2)),
    "blocks": Indexed(groups=2),
    "blocks-for-all-heads": Indexed(groups=1),
    "more-groups-than-key-heads": Indexed(groups=4),
    "groups-across-key-heads": Indexed(heads=12, kv_heads=2, groups=3),
    "caches-first": Indexed(early=True),
    "a-block-past-the-end": Indexed(groups=2, keys=6, block=3),
}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize("queries", [0, 1, 2, 3])
def test_equals_attention_under_the_mask(problem: Indexed, queries: int) -> None:
    feeds = problem.feeds(queries)
    y, *presents = run(lowered(problem.model()), feeds)
    np.testing.assert_allclose(y, problem.expected(feeds), rtol=0, atol=1e-5)
    for present, expected in zip(presents, problem.presents(feeds).values(), strict=True):
        np.testing.assert_array_equal(present, expected.numpy())


@pytest.mark.parametrize("problem", [PROBLEMS["grouped"], PROBLEMS["latent"]], ids=["grouped", "latent"])
@pytest.mark.parametrize(("queries", "gathered"), [(1, True), (2, True), (3, False)])
def test_few_queries_read_the_selected_rows_alone(problem: Indexed, queries: int, gathered: bool) -> None:
    feeds = problem.feeds(queries)
    expected = problem.expected(feeds)
    some = problem.selected(feeds).any(axis=(1, 2))[0]
    for name in problem.caches:
        feeds[f"past.{name}"][0, :, ~some] = np.nan
    y = run(lowered(problem.model()), feeds)[0]
    # The product of a weight of zero with a number that is none is none.
    assert np.isfinite(y[0]).all() == gathered
    np.testing.assert_allclose(y[1], expected[1], rtol=0, atol=1e-5)
    if gathered:
        np.testing.assert_allclose(y[0], expected[0], rtol=0, atol=1e-5)


def test_equal_scores_select_the_first_keys() -> None:
    problem = Indexed()
    feeds = problem.feeds(1)
    feeds["index.keys"][:] = 0
    y = run(lowered(problem.model()), feeds)[0]
    assert problem.selected(feeds)[0, 0, 0].nonzero()[0].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(y, problem.expected(feeds), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["grouped", "latent", "groups-across-key-heads", "caches-first"])
@pytest.mark.parametrize("queries", [1, 2, 3])
def test_rows_of_int8_caches_are_gathered(name: str, queries: int) -> None:
    problem = PROBLEMS[name]
    feeds = problem.feeds(queries)
    # Numbers with few digits and a largest magnitude of 127 in each part of an entry are exact in int8.
    for cache, (_, width) in problem.caches.items():
        for kind in ("past", "new"):
            entries = np.round(feeds[f"{kind}.{cache}"] * 40).clip(-126, 126)
            for first in (0, problem.latent[0]) if problem.latent else (0,):
                entries[..., first] = 127
            feeds[f"{kind}.{cache}"] = entries.astype(np.float32) / 127
            assert entries.shape[-1] == width
    expected = problem.expected(feeds)
    for cache, (heads, _) in problem.caches.items():
        past = feeds.pop(f"past.{cache}")
        parts = 2 if problem.latent else 1
        feeds[f"past.{cache}"] = np.round(past * 127).astype(np.int8)
        feeds[f"past.{cache}.scale"] = np.full((len(LENGTHS), heads, parts, CAPACITY), 1 / 127, np.float32)
    y = run(lowered(problem.model(), int8=True), feeds)[0]
    # Gathered rows are multiplied in float; the products of a mask's form round the queries and weights to 8 bits.
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4 if queries < 3 or problem.latent else 2e-2)


@pytest.mark.parametrize("groups", [None, 2])
def test_keys_of_the_call_keep_the_mask(groups: int | None) -> None:
    model = Indexed(groups=groups).model()
    for node in model.graph:
        if node.op_type.startswith("Select"):
            node.attributes["cached"] = ir.AttrInt64("cached", 0)
    lowered(model)
    assert "TopK" in {node.op_type for node in model.graph}
