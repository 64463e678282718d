"""From a model to the graphs that a target runs, and what they take and give."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from archc.compiler.contract import inputs_outputs
from archc.compiler.contract.rings import Rings, find_rings, longest_call
from archc.compiler.modules.model import Model
from archc.compiler.options import Form
from archc.compiler.passes.caches.fixed_capacity import fixed_capacity
from archc.compiler.passes.caches.quantize_cache import quantize_caches
from archc.compiler.passes.caches.whole_cache import read_whole_caches
from archc.compiler.passes.next_token import find_next_token
from archc.compiler.tracing.stitch import MODEL, assemble
from archc.plan import Limits
from archc.plan.manifest import Input, Output, State


@dataclass(frozen=True)
class Lowered:
    """Graphs by name, and the main one's inputs, outputs, state and limits in the manifest's words."""

    graphs: dict[str, ir.Model]
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    state: tuple[State, ...]
    limits: Limits

    @property
    def main(self) -> ir.Model:
        """The graph that every call runs."""
        return self.graphs[MODEL]


def lower(model: Model, form: Form, longest: int) -> Lowered:
    """Traces a model, puts its graphs together and runs the target's passes; `longest` is the most tokens it takes."""
    spec, target = model.spec, form.target
    graphs = assemble(model)
    rings = find_rings(spec, longest) if target.rings else Rings()
    rings.apply(graphs[MODEL])
    shaping = (fixed_capacity(longest),) if target.engine else ()
    for graph in graphs.values():
        for graph_pass in (*target.passes_for(form.quantization), *shaping):
            graph_pass(graph)
    state = [rings.state(item) for item in inputs_outputs.graph_state(spec, model.dtype)]
    if form.cache == "int8":
        state = quantize_caches(graphs[MODEL], state)
    inputs = [rings.input(item) for item in inputs_outputs.graph_inputs(spec)]
    if target.whole_caches:
        inputs = read_whole_caches(graphs[MODEL], inputs, state)
    outputs = inputs_outputs.graph_outputs(spec, model.dtype)
    if target.chooses and spec.topology != "encoder":
        outputs = find_next_token(graphs[MODEL], outputs)
    for graph in graphs.values():
        for graph_pass in target.last_passes:
            graph_pass(graph)
    limits = Limits(max_seq_len=longest, max_call=longest_call(spec), vocab_size=spec.embedding.vocab)
    return Lowered(graphs, tuple(inputs), tuple(outputs), tuple(state), limits)
