"""From a model to the graphs of a target and their contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import onnx_ir as ir

from archc.archspec import BoundSpec
from archc.archspec import vocabulary as words
from archc.archspec.binding.longest import longest_sequence
from archc.compiler.contract.growing import fixed_names, slot_contracts
from archc.compiler.contract.ports import MODEL, PACKED, PIECE, Contract, describe
from archc.compiler.contract.rings import find_rings, longest_call
from archc.compiler.modules.model import Model
from archc.compiler.options import BuildOptions
from archc.compiler.targets import Choices
from archc.compiler.tracing.stitch import assemble
from archc.compiler.weights.formats.stored_blocks import FindGroups
from archc.plan import Limits

Trace = Callable[[Model], dict[str, ir.Model]]
"""Returns the graphs of a model by name, before any pass; `lower` changes them."""


@dataclass(frozen=True)
class Lowered:
    """Graphs by name, the contract of each, and the limits of the main one; `piece` is the packed one's second."""

    graphs: dict[str, ir.Model]
    contracts: dict[str, Contract]
    limits: Limits
    piece: Contract | None = None

    @property
    def main(self) -> ir.Model:
        """The graph that every call runs."""
        return self.graphs[MODEL]


def lower(
    model: Model,
    options: BuildOptions,
    longest: int,
    find_groups: FindGroups = lambda slot: None,
    trace: Trace = assemble,
) -> Lowered:
    """Trace a model and run the target's passes on its graphs; `longest` is the most tokens of a sequence.

    `find_groups` returns the groups of slots that the checkpoint stores in 4-bit integers.
    """
    spec = model.spec
    choices = Choices(
        rings=find_rings(spec, model.shared_inputs, longest),
        slots=longest,
        decodes=spec.topology != "encoder",
        quantization=options.quantization,
        cache=options.cache,
        fixed_names=fixed_names(spec),
        prefix=spec.prefix,
        find_groups=find_groups,
    )
    graphs = trace(model)
    traced = {name: describe(graph.graph) for name, graph in graphs.items()}
    graphs = options.target.arrange(graphs)
    if choices.decodes and options.target.packs:
        graphs[PACKED] = graphs[MODEL].clone()
    for name, graph in graphs.items():
        for graph_pass in options.target.passes(replace(choices, packed=name == PACKED)):
            graph_pass(graph)
    limits = Limits(
        max_seq_len=longest,
        max_call=longest_call(spec),
        vocab_size=spec.embedding.vocab,
        token_types=spec.embedding.token_types,
        reread_past=_trained_length(spec),
        longest_sequence=longest_sequence(spec),
    )
    piece = describe(graphs[PACKED].graph, PIECE) if PACKED in graphs else None
    contracts = {name: describe(graph.graph) for name, graph in graphs.items()}
    if options.target.output == "optimum":
        contracts = slot_contracts(traced, [graph.graph for graph in graphs.values()])
    return Lowered(graphs, contracts, limits, piece)


def _trained_length(spec: BoundSpec) -> int | None:
    """Return the length past which LongRoPE reads a sequence again with its long list; None if it never does."""
    ropes = [
        layer.position for layer in spec.layers if isinstance(layer.position, words.Rope) and layer.position.reread
    ]
    scalings = [rope.scaling for rope in ropes]
    lengths = [item.original_max_position_embeddings for item in scalings if isinstance(item, words.LongRopeScaling)]
    return min(lengths, default=None)
