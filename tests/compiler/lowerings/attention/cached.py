"""Attention over KV caches in small graphs: updates, attention, and the same in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from archc.compiler.contract.ports import mark, mark_state_input
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.lowerings.attention.blocks import QueryBlocks
from archc.compiler.lowerings.attention.caches import FloatCaches
from archc.compiler.lowerings.attention.grouped import GroupedAttention
from archc.compiler.lowerings.attention.latent import GroupedLatentAttention
from archc.compiler.lowerings.attention.masks import AdditiveMasks
from archc.compiler.lowerings.attention.portable import StandardAttention
from archc.compiler.lowerings.attention.tensorrt import TensorRtAttention
from archc.compiler.lowerings.driver import Lowering
from archc.compiler.ops import operators as ops
from archc.compiler.ops.latent_attention import latent_attention
from tests.compiler.graphs import build, typed, value
from tests.compiler.lowerings.attention.problems import BATCH, BOOL, FLOAT, INT64, Arrays, lower

CAPACITY, SEQ = 11, 3
INDICES = np.array([4, 1])
"""Slots that each row of the batch holds before the call."""
TOTAL = int(INDICES.max()) + SEQ

Values = Mapping[str, ir.Value]
Extra = Callable[[GraphBuilder, Values], Sequence[ir.Value]]
"""Adds nodes that read the values of a graph, and returns more outputs."""


def nothing(op: GraphBuilder, values: Values) -> Sequence[ir.Value]:
    """Add nothing."""
    return []


@dataclass(frozen=True)
class CachedAttention:
    """`archc.Attention` over a key and a value cache that the call writes first."""

    heads: int = 4
    kv_heads: int = 2
    width: int = 8
    scale: float = 0.4
    dtype: ir.DataType = FLOAT
    #: The axes of the caches' slots and of the mask's keys.
    slots: int | str = "capacity"
    keys: int | str = "total"
    state: str = "kv"
    window: int | None = None
    #: The mode of the updates; circular ones continue at the start of the cache.
    mode: str = "linear"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the states."""
        return ("key", "value")

    def model(self, extra: Extra = nothing) -> ir.Model:
        """Return the graph: y, the caches, and what `extra` adds."""
        values = self._inputs()
        for name in self.names:
            mark_state_input(values[f"past.{name}"], self.state, f"present.{name}", self.window)
        mark(values["mask"], {"role": "mask", "mask": {"kind": "causal"}})

        def make(op: GraphBuilder) -> Sequence[ir.Value]:
            made = dict(values)
            for name in self.names:
                past = values[f"past.{name}"]
                present = op.UpdateCache(
                    past, values[f"new.{name}"], values["write_indices"], mode=self.mode, domain=ARCHC
                )
                made[f"present.{name}"] = typed(present, f"present.{name}", self.dtype, *past.shape)
                mark(present, {"state": self.state})
            y = self._attention(op, made)
            return [y, *(made[f"present.{name}"] for name in self.names), *extra(op, made)]

        return build([*values.values()], make)

    def _inputs(self) -> dict[str, ir.Value]:
        shapes = {"q": (self.heads, "seq"), "new.key": (self.kv_heads, "seq"), "new.value": (self.kv_heads, "seq")}
        shapes |= {f"past.{name}": (self.kv_heads, self.slots) for name in self.names}
        inputs = {name: value(name, self.dtype, "batch", *shape, self.width) for name, shape in shapes.items()}
        return inputs | {
            "mask": value("mask", BOOL, "batch", 1, "seq", self.keys),
            "write_indices": value("write_indices", INT64, "batch"),
        }

    def _attention(self, op: GraphBuilder, values: Values) -> ir.Value:
        operands = [values[name] for name in ("q", "present.key", "present.value", "mask")]
        y = op.Attention(*operands, scale=self.scale, softcap=0.0, cached=1, domain=ARCHC)
        return typed(y, "y", self.dtype, "batch", self.heads, "seq", self.width)

    def feeds(self, total: int = TOTAL) -> dict[str, NDArray[Any]]:
        """Return random numbers, also in slots that hold no token, and a causal mask over `total` slots."""
        random = np.random.default_rng(self.heads)
        sizes = {"batch": BATCH, "seq": SEQ, "capacity": CAPACITY}
        feeds: dict[str, NDArray[Any]] = {
            name: random.standard_normal([sizes.get(str(size), size) for size in item.shape]).astype(item.dtype.numpy())
            for name, item in self._inputs().items()
            if item.dtype == self.dtype
        }
        last = INDICES[:, None] + np.arange(SEQ)
        feeds["mask"] = np.ascontiguousarray((np.arange(total) <= last[..., None])[:, None])
        feeds["write_indices"] = INDICES
        return feeds

    def presents(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Return the caches after the call, by the torch operator."""
        return {
            name: ops.update_cache(
                *(torch.from_numpy(feeds[item]) for item in (f"past.{name}", f"new.{name}", "write_indices"))
            ).numpy()
            for name in self.names
        }

    def expected(self, feeds: Arrays, presents: Arrays) -> NDArray[Any]:
        """Return attention over caches, by the torch operator."""
        q, mask = (torch.from_numpy(feeds[name]) for name in ("q", "mask"))
        key, cached = (torch.from_numpy(presents[name]) for name in self.names)
        return ops.attention(q, key, cached, mask, None, self.scale, 0.0, None, True).numpy()


@dataclass(frozen=True)
class CachedLatent(CachedAttention):
    """`archc.LatentAttention` over a cache of latents [B, 1, C, L + R]."""

    heads: int = 3
    nope: int = 4
    rope: int = 2
    value_width: int = 5
    latent: int = 12

    @property
    def names(self) -> tuple[str, ...]:
        """The name of the state."""
        return ("latent",)

    def _inputs(self) -> dict[str, ir.Value]:
        stored = self.latent + self.rope
        shapes: dict[str, tuple[int | str, ...]] = {
            "q": ("batch", self.heads, "seq", self.nope),
            "rotated": ("batch", self.heads, "seq", self.rope),
            "new.latent": ("batch", 1, "seq", stored),
            "past.latent": ("batch", 1, self.slots, stored),
            "k_up": (self.heads * self.nope, self.latent),
            "v_up": (self.heads * self.value_width, self.latent),
        }
        inputs = {name: value(name, self.dtype, *shape) for name, shape in shapes.items() if 0 not in shape}
        return inputs | {
            "mask": value("mask", BOOL, "batch", 1, "seq", self.keys),
            "write_indices": value("write_indices", INT64, "batch"),
        }

    def _attention(self, op: GraphBuilder, values: Values) -> ir.Value:
        operands = [values.get(name) for name in ("q", "rotated", "present.latent", "k_up", "v_up", "mask")]
        y = op.LatentAttention(*operands, scale=self.scale, cached=1, domain=ARCHC)
        return typed(y, "y", self.dtype, "batch", self.heads, "seq", self.value_width)

    def expected(self, feeds: Arrays, presents: Arrays) -> NDArray[Any]:
        """Return attention over latents, by the torch operator."""
        q, k_up, v_up, mask = (torch.from_numpy(feeds[name]) for name in ("q", "k_up", "v_up", "mask"))
        rotated = torch.from_numpy(feeds["rotated"]) if self.rope else None
        stored = torch.from_numpy(presents["latent"])
        return latent_attention(q, rotated, stored, k_up, v_up, mask, self.scale, cached=True).numpy()


def lower_float(model: ir.Model, target: str = "ort-cpu") -> ir.Model:
    """Return the model after a target's lowerings, with caches in float."""
    caches = FloatCaches()
    if target == "ort-cpu":
        attention: Lowering = GroupedAttention(caches, QueryBlocks(), AdditiveMasks())
        latent: Lowering = GroupedLatentAttention(caches, QueryBlocks(), AdditiveMasks())
    else:
        standard = StandardAttention() if target == "portable" else TensorRtAttention()
        attention, latent = standard.attention, standard.latent
    return lower(model, Attention=attention, LatentAttention=latent, UpdateCache=caches.update)
