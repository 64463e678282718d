"""Targets: their options, and the passes from a traced graph to the graph of the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir

from archc.archspec import vocabulary as words
from archc.compiler.contract.rings import Rings
from archc.compiler.weights.formats.stored_blocks import FindGroups


@dataclass(frozen=True)
class Choices:
    """The options of one build that passes depend on."""

    #: Windowed layers whose caches may be rings.
    rings: Rings
    #: The most tokens of a sequence.
    slots: int
    #: True if the model generates tokens.
    decodes: bool
    #: Weight quantization: one of the target's `quantizations`, or None.
    quantization: str | None = None
    #: True for the graph with a second group of tokens.
    packed: bool = False
    #: KV-cache quantization: one of the target's `caches`, or None.
    cache: str | None = None
    #: The names of fixed states in the layout of other runtimes, by those in the graph.
    fixed_names: Mapping[str, str] = field(default_factory=dict)
    #: The tokens that mark the prompt of a prefix LM, or None.
    prefix: words.Prefix | None = None
    #: The groups of slots that the checkpoint stores in 4-bit integers.
    find_groups: FindGroups = lambda slot: None


@dataclass(frozen=True)
class Target:
    """A runtime, or a form for several, that plans are built for."""

    name: str
    description: str
    #: The passes of a build, in order.
    passes: Callable[[Choices], Sequence[ir.passes.PassBase]]
    #: Compute dtypes; the first is the default.
    dtypes: tuple[str, ...]
    #: A plan with graphs, a folder of ONNX files, one in the layout of Optimum, or a plan with a serialized engine.
    output: Literal["plan", "folder", "optimum", "engine"] = "plan"
    #: Rearranges the traced graphs, by name, before the passes.
    arrange: Callable[[dict[str, ir.Model]], dict[str, ir.Model]] = lambda graphs: graphs
    #: Forms of weight quantization.
    quantizations: tuple[str, ...] = ()
    #: Compute dtypes that quantized weights can be combined with.
    quantized_dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32")
    #: Forms of KV-cache quantization.
    caches: tuple[str, ...] = ()
    #: True if plans of decoders have the graph for many sequences, too.
    packs: bool = False

    @property
    def folder(self) -> bool:
        """True if a build writes a folder."""
        return self.output in ("folder", "optimum")

    @property
    def engine(self) -> bool:
        """True if a build serializes an engine."""
        return self.output == "engine"
