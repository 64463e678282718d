"""Attention nodes of the domain `archc` in small graphs, numbers for them, and results of the torch operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from archc.compiler.contract.ports import mark
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.lowerings.attention.blocks import QueryBlocks
from archc.compiler.lowerings.attention.products import Problem
from archc.compiler.lowerings.driver import Lower, Lowering
from archc.compiler.ops import operators as ops
from archc.compiler.ops.latent_attention import latent_attention
from archc.compiler.weights.lazy import WeightTensor
from archc.compiler.weights.steps import apply_steps
from tests.compiler.graphs import build, typed, value

FLOAT, FLOAT16, BOOL, INT64 = ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BOOL, ir.DataType.INT64
BATCH = 2
Arrays = Mapping[str, NDArray[Any]]
MaskKind = Literal["causal", "window", "prefix", "all", "nothing"]


def mask_of(kind: MaskKind, seq: int, total: int) -> NDArray[np.bool_]:
    """Return a mask [2, 1, seq, total] whose last query is the last key's token; the second row has padding."""
    query, key = np.arange(total - seq, total)[:, None], np.arange(total)
    attended = {
        "causal": key <= query,
        "window": (key <= query) & (key > query - 40),
        "prefix": (key <= query) | (key < total // 2),
        "all": np.ones((seq, total), bool),
        "nothing": np.zeros((seq, total), bool),
    }[kind]
    rows = np.stack([attended, attended & (key < total - 3)]) if total > 3 else np.stack([attended, attended])
    return np.ascontiguousarray(rows[:, None])


@dataclass(frozen=True)
class Attention:
    """The options of `archc.Attention` over the call's own keys; layers are nodes one after another with one mask."""

    heads: int = 6
    kv_heads: int = 2
    width: int = 8
    value_width: int = 0
    scale: float = 0.7
    softcap: float = 0.0
    bias: Literal["none", "alibi", "relative"] = "none"
    sinks: bool = False
    dtype: ir.DataType = FLOAT
    layers: int = 1

    def model(self, scan: bool = False) -> ir.Model:
        """Return the graph; with a `scan`, it also sums the numbers of an input of its own."""
        heads, kv_heads, width = self.heads, self.kv_heads, self.width
        value_width = self.value_width or width
        inputs = [
            value("q", self.dtype, "batch", heads, "seq", width),
            value("k", self.dtype, "batch", kv_heads, "total", width),
            value("v", self.dtype, "batch", kv_heads, "total", value_width),
            value("mask", BOOL, "batch", 1, "seq", "total"),
        ]
        mark(inputs[3], {"role": "mask", "mask": {"kind": "causal"}})
        bias = value("bias", self.dtype, *([1, heads, 1] if self.bias == "alibi" else ["batch", heads, "seq"]), "total")
        sinks = value("sinks", self.dtype, heads)
        options = [bias if self.bias != "none" else None, sinks if self.sinks else None]
        items = value("items", FLOAT, 4)

        def make(op: GraphBuilder) -> Sequence[ir.Value]:
            result = inputs[0]
            for layer in range(self.layers):
                attributes = {"scale": self.scale, "softcap": self.softcap, "cached": 0}
                result = op.Attention(result, *inputs[1:], *options, **attributes, domain=ARCHC)
                typed(result, f"y.{layer}", self.dtype, "batch", heads, "seq", value_width)
            return [result, *([sum_by_scan(op, items)] if scan else [])]

        ends = [*inputs, *(item for item in options if item is not None), *([items] if scan else [])]
        return build(ends, make)

    def feeds(self, seq: int, total: int, kind: MaskKind = "causal") -> dict[str, NDArray[Any]]:
        """Return random numbers for a call."""
        random = np.random.default_rng(self.heads * 100 + self.kv_heads)

        def normal(*shape: int) -> NDArray[Any]:
            return random.standard_normal(shape).astype(self.dtype.numpy())

        feeds: dict[str, NDArray[Any]] = {
            "q": normal(BATCH, self.heads, seq, self.width),
            "k": normal(BATCH, self.kv_heads, total, self.width),
            "v": normal(BATCH, self.kv_heads, total, self.value_width or self.width),
            "mask": mask_of(kind, seq, total),
        }
        if self.bias == "alibi":
            slopes = np.arange(1, self.heads + 1).reshape(1, -1, 1, 1) / self.heads
            feeds["bias"] = (slopes * np.arange(total)).astype(self.dtype.numpy())
        if self.bias == "relative":
            feeds["bias"] = normal(BATCH, self.heads, seq, total)
        if self.sinks:
            feeds["sinks"] = np.linspace(-1, 2, self.heads).astype(self.dtype.numpy())
        return feeds

    def expected(self, feeds: Arrays) -> NDArray[Any]:
        """Return the result of the torch operator."""
        tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
        y = tensors["q"]
        for _ in range(self.layers):
            y = ops.attention(
                y,
                tensors["k"],
                tensors["v"],
                tensors["mask"],
                tensors.get("bias"),
                self.scale,
                self.softcap,
                tensors.get("sinks"),
            )
        return y.numpy()


def sum_by_scan(op: GraphBuilder, items: ir.Value) -> ir.Value:
    """Return the sum of the numbers of `items`, by a Scan."""
    total, item = value("total", FLOAT), value("item", FLOAT)
    body = GraphBuilder(op.graph, "body", closed=True)
    added = typed(body.Add(total, item), "added", FLOAT)
    result = op.Scan(op.scalar(0.0, FLOAT), items, body=body.subgraph([added], [total, item]), num_scan_inputs=1)
    return typed(result, "scanned", FLOAT)


@dataclass(frozen=True)
class LatentAttention:
    """The sizes of `archc.LatentAttention` over the call's own latents; layers share one mask."""

    heads: int = 3
    nope: int = 4
    rope: int = 2
    value: int = 5
    latent: int = 12
    scale: float = 0.4
    layers: int = 2
    sinks: bool = False

    def model(self, weights: Sequence[ir.Value] = ()) -> ir.Model:
        """Return the graph; `weights` are initializers k_up [H · N, L] and v_up [H · V, L], or inputs without any."""
        rotated = value("rotated", FLOAT, "batch", self.heads, "seq", self.rope) if self.rope else None
        inputs = [
            value("q", FLOAT, "batch", self.heads, "seq", self.nope),
            *([rotated] if rotated is not None else []),
            value("stored", FLOAT, "batch", 1, "total", self.latent + self.rope),
            value("mask", BOOL, "batch", 1, "seq", "total"),
        ]
        q, stored, mask = inputs[0], *inputs[-2:]
        mark(mask, {"role": "mask", "mask": {"kind": "causal"}})
        k_up, v_up = weights or (
            value("k_up", FLOAT, self.heads * self.nope, self.latent),
            value("v_up", FLOAT, self.heads * self.value, self.latent),
        )

        sinks = [value("sinks", FLOAT, self.heads)] if self.sinks else []

        def make(op: GraphBuilder) -> Sequence[ir.Value]:
            query = y = q
            for layer in range(self.layers):
                if layer:
                    part = op.Slice(y, op.ints(0), op.ints(self.nope), op.ints(3))
                    query = typed(op.Add(q, part), f"q.{layer}", FLOAT, "batch", self.heads, "seq", self.nope)
                attributes = {"scale": self.scale, "cached": 0}
                operands = (query, rotated, stored, k_up, v_up, mask, *sinks)
                y = op.LatentAttention(*operands, **attributes, domain=ARCHC)
                typed(y, f"y.{layer}", FLOAT, "batch", self.heads, "seq", self.value)
            return [y]

        return build([*inputs, *([] if weights else [k_up, v_up]), *sinks], make, weights)

    def feeds(self, seq: int, total: int) -> dict[str, NDArray[Any]]:
        """Return random numbers for a call under a causal mask."""
        random = np.random.default_rng(seq * 100 + total)

        def normal(*shape: int) -> NDArray[np.float32]:
            return random.standard_normal(shape).astype(np.float32)

        attended = np.arange(total) <= np.arange(seq)[:, None] + total - seq
        sinks = {"sinks": np.linspace(-1, 2, self.heads).astype(np.float32)} if self.sinks else {}
        return {
            "q": normal(BATCH, self.heads, seq, self.nope),
            **({"rotated": normal(BATCH, self.heads, seq, self.rope)} if self.rope else {}),
            "stored": normal(BATCH, 1, total, self.latent + self.rope),
            "mask": np.broadcast_to(attended, (BATCH, 1, seq, total)).copy(),
            "k_up": normal(self.heads * self.nope, self.latent) / 3,
            "v_up": normal(self.heads * self.value, self.latent) / 3,
            **sinks,
        }

    def expected(self, feeds: Arrays) -> NDArray[np.float32]:
        """Return the result of the torch operator."""
        tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
        names = ("rotated", "stored", "k_up", "v_up", "mask")
        query = y = tensors["q"]
        for layer in range(self.layers):
            if layer:
                query = tensors["q"] + y[..., : self.nope]
            y = latent_attention(query, *(tensors.get(name) for name in names), self.scale, tensors.get("sinks"))
        expected: NDArray[np.float32] = y.numpy()
        return expected


class PlainForm(QueryBlocks):
    """Builds the form of a decoding step alone."""

    def build(
        self,
        op: GraphBuilder,
        mask: ir.Value,
        result: ir.Value,
        problem: Problem,
        attention: Callable[[GraphBuilder, Problem], ir.Value],
        outer: GraphBuilder | None = None,
    ) -> ir.Value:
        """Build attention of all queries at once."""
        return attention(op, problem)


def lower(model: ir.Model, standard: Mapping[str, Lowering] | None = None, **table: Lowering) -> ir.Model:
    """Return the model after a table of lowerings, which leaves no node of the domain `archc`."""
    Lower(table, standard)(model)
    assert not [node for node in model.graph.all_nodes() if node.domain == ARCHC]
    assert ARCHC not in model.graph.opset_imports
    return model


def only(model: ir.Model, op_type: str) -> ir.Node:
    """Return the one node of a type among the nodes of the main graph."""
    (node,) = (node for node in model.graph if node.op_type == op_type)
    return node


def fill(model: ir.Model, **numbers: NDArray[Any]) -> ir.Model:
    """Give the initializers that are streamed their numbers, by the slot's name."""
    for initializer in model.graph.initializers.values():
        tensor = initializer.const_value
        if isinstance(tensor, WeightTensor):
            weight = apply_steps([torch.from_numpy(numbers[tensor.slot])], tensor.steps)
            initializer.const_value = ir.tensor(weight.contiguous().numpy(), name=initializer.name)
    return model
