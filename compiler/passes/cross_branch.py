"""The two graphs of Optimum's encoder-decoders: an encoder, and a decoder that computes cross keys and values once.

A plan's encoder computes the keys and values of the source for every layer of the decoder. Here the decoder reads the
encoder's hidden states, and a branch computes them at its first call, or returns those of the past.
"""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.contract.ports import ENCODER, MODEL, port, state_kind
from archc.compiler.graph.builder import GraphBuilder, register_initializer
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.subgraph import copy_node
from archc.compiler.graph.values import dtype_of, required, shape_of, typed_like

ENCODER_MODEL, DECODER_MODEL = "encoder_model", "decoder_model_merged"
HIDDEN, HAS_PAST = "encoder_hidden_states", "use_cache_branch"
SOURCE_AXIS = "encoder_sequence_length"


def join_cross_projections(graphs: dict[str, ir.Model]) -> dict[str, ir.Model]:
    """Move the projections of the encoder's hidden states to the decoder's graph; other models stay as they are."""
    if ENCODER not in graphs:
        return graphs
    encoder, decoder = graphs[ENCODER], graphs[MODEL]
    _Join(encoder.graph, decoder.graph).run()
    return {ENCODER_MODEL: encoder, DECODER_MODEL: decoder}


class _Join:
    def __init__(self, encoder: ir.Graph, decoder: ir.Graph) -> None:
        self.encoder, self.decoder = encoder, decoder
        self.states = next(value for value in encoder.outputs if port(value).get("role") == "hidden_states")
        self.crossed = {value.name: value for value in encoder.outputs if port(value).get("role") == "cross"}

    def run(self) -> None:
        width = shape_of(self.states)[2]
        hidden = ir.Value(
            name=HIDDEN,
            type=ir.TensorType(dtype_of(self.states)),
            shape=ir.Shape(["batch", SOURCE_AXIS, width]),
        )
        has_past = ir.Value(name=HAS_PAST, type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([1]))
        pasts = [value for value in self.decoder.inputs if state_kind(value) == "cross"]
        nodes, values = self._take_projections(hidden)
        op = GraphBuilder(self.decoder, "crossed")
        chosen = op.Choose(
            has_past, *pasts, *(values[str(past.name)] for past in pasts), outputs=len(pasts), domain=ARCHC
        )
        for past, value in zip(pasts, chosen, strict=True):
            sizes = [SOURCE_AXIS if str(size) == "source" else size for size in shape_of(past)]
            past.shape, value.shape, value.type = ir.Shape(sizes), ir.Shape(sizes), past.type
            for reader, index in list(past.uses()):
                if reader is not value.producer():
                    reader.replace_input_with(index, value)
            past.name, value.name = (
                f"{place}.{str(past.name).removeprefix('cross_key_values.').replace('.', '.encoder.')}"
                for place in ("past_key_values", "present")
            )
            self.decoder.outputs.append(value)
        self.decoder.insert_before(self.decoder[0], [*nodes, *op.nodes])
        self.decoder.inputs.extend([hidden, has_past])

    def _take_projections(self, hidden: ir.Value) -> tuple[list[ir.Node], dict[str, ir.Value]]:
        """Remove the nodes that read the hidden states from the encoder; return copies, and their results by name."""
        reading, depends = list[ir.Node](), {self.states}
        for node in self.encoder:
            if depends.intersection(node.inputs):
                reading.append(node)
                depends.update(node.outputs)
        mapping = {self.states: hidden}
        for node in reading:
            for value in node.inputs:
                if value is not None and value not in depends:
                    assert value.const_value is not None, f"{value.name}: not of the hidden states alone"
                    mapping[value] = register_initializer(self.decoder, value.const_value)
        copies = [copy_node(node, mapping, "") for node in reading]
        results = {str(name): mapping[value] for name, value in self.crossed.items()}
        for index, output in reversed(list(enumerate(self.encoder.outputs))):
            if output in self.crossed.values():
                del self.encoder.outputs[index]
        self.encoder.remove(reading, safe=True)
        for value in mapping:
            if value.is_initializer() and not value.uses() and not value.is_graph_output():
                del self.encoder.initializers[str(value.name)]
        for name, value in results.items():
            value.name = f"{name}.computed"
        return copies, results


def choose(node: ir.Node, op: GraphBuilder) -> list[ir.Value]:
    """Lower `archc.Choose` of a flag, past and new values: an If, one branch of which computes the new ones."""
    flag, *values = map(required, node.inputs)
    pasts, computed = values[: len(node.outputs)], values[len(node.outputs) :]
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    moved = _producers(computed)
    graph.remove(moved)
    kept, new = op.nested("past"), op.nested("computed")
    new.nodes.extend(moved)
    branches = {
        name: branch.subgraph(
            [typed_like(branch.Identity(value), past) for value, past in zip(read, pasts, strict=True)]
        )
        for name, branch, read in (("then_branch", kept, pasts), ("else_branch", new, computed))
    }
    chosen = op.If(op.Squeeze(flag, op.ints(0)), outputs=len(pasts), **branches)
    return [chosen] if len(pasts) == 1 else list(chosen)


def _producers(values: list[ir.Value]) -> list[ir.Node]:
    """Return the nodes that compute values, in the order of the graph."""
    nodes, waiting = set[ir.Node](), [value.producer() for value in values]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            waiting.extend(value.producer() for value in node.inputs if value is not None)
    graph = next(iter(nodes)).graph
    assert isinstance(graph, ir.Graph)
    return [node for node in graph if node in nodes]
