"""Two groups of tokens in one call: the next tokens of many sequences, and a piece of one sequence's prompt.

Each group keeps inputs and state of its own. Nodes that work on each token alone (products with weights, norms, MLPs)
are computed once for the tokens of both, so that a call reads every weight once; nodes that mix the tokens of a
sequence (caches, attention, recurrences) are computed for each group. The piece may be empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from archc.compiler.contract.ports import GROUP, PIECE, PORT, is_mask, mark, port
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.rows import has_rows, without_rows, works_by_row
from archc.compiler.graph.subgraph import copy_node
from archc.compiler.graph.values import axis_name, fixed_size, required, shape_of
from archc.compiler.lowerings.attention.caches import SELECTIONS, mask_of
from archc.plan.axes import CAPACITY, SOURCE, slots_of

TOKENS = "tokens"
"""The axis of the tokens of both groups."""


class PackGroups(ir.passes.InPlacePass):
    """Adds a second group of inputs, outputs and state for one sequence to a graph, with shared products."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Copy what mixes tokens, and join what works on each of them."""
        _Packing(model.graph).run()
        return ir.passes.PassResult(model, modified=True)


@dataclass
class _Packing:
    """The values of both groups: `piece` by value of the original graph, `packed` those of all tokens."""

    graph: ir.Graph
    piece: dict[ir.Value, ir.Value] = field(default_factory=dict)
    packed: dict[ir.Value, ir.Value] = field(default_factory=dict)
    steps: dict[ir.Value, ir.Value] = field(default_factory=dict)
    counts: dict[str, ir.Value] = field(default_factory=dict)

    def run(self) -> None:
        """Rebuild the graph in order."""
        graph = self.graph
        constant = without_rows(graph)
        nodes, inputs, outputs = list(graph), list(graph.inputs), list(graph.outputs)
        by_row = {
            node
            for node in nodes
            if (works_by_row(node, constant) or _routes_rows(node, constant))
            and all(_has_tokens(required(value)) for value in node.inputs if value not in constant)
        }
        for value in inputs:
            self.piece[value] = _copy_value(value)
            graph.inputs.append(self.piece[value])
        for node in nodes:
            if constant.issuperset(node.inputs):
                continue
            rows = [required(value) for value in node.inputs if value not in constant]
            if node in by_row:
                self._join(node, rows)
            else:
                self._copy(node, rows)
        for index, value in enumerate(outputs):
            if "role" in port(value):
                self._join_output(index, value)
            else:
                mark(self.piece[value], {**port(value), GROUP: PIECE})
                graph.outputs.append(self.piece[value])

    def _join(self, node: ir.Node, rows: list[ir.Value]) -> None:
        """Let a node read the tokens of both groups."""
        axis = rows[0].metadata_props.get(_AXIS) or str(shape_of(rows[0])[1])
        for value in rows:
            packed = self._packed(value, node)
            for index, old in enumerate(node.inputs):
                if old is value:
                    node.replace_input_with(index, packed)
        for output in node.outputs:
            self.packed[output] = output
            output.metadata_props[_AXIS] = axis
            output.shape = ir.Shape([1, _tokens(axis), *shape_of(output)[2:]])

    def _copy(self, node: ir.Node, rows: list[ir.Value]) -> None:
        """Make a copy of a node for the piece; the node itself reads the steps."""
        pieces = {value: self._piece(value) for value in rows}
        mapping = {value: pieces.get(value, value) for value in node.inputs if value is not None}
        copy = copy_node(node, mapping, f"{PIECE}.")
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            _describe_copy(new, old)
            self.piece[old] = new
        if node.domain == ARCHC and node.op_type in SELECTIONS:
            selected = copy.outputs[0]
            selected.shape = ir.Shape([*shape_of(selected)[:_KEYS], shape_of(mask_of(copy))[_KEYS]])
        self.graph.insert_after(node, copy)
        for value in rows:
            steps = self._steps(value)
            for index, given in enumerate(node.inputs):
                if given is value and steps is not value:
                    node.replace_input_with(index, steps)

    def _packed(self, value: ir.Value, reader: ir.Node | None) -> ir.Value:
        """Return the tokens of both groups, [1, tokens, N]."""
        if value not in self.packed:
            axis, width = str(shape_of(value)[1]), fixed_size(value, 2)
            op = GraphBuilder(self.graph, f"{value.name}.packed")
            flat = op.Reshape(value, op.ints(1, -1, width))
            joined = op.Concat(flat, self.piece[value], axis=1)
            joined.type, joined.shape = (
                value.type,
                ir.Shape([1, _tokens(axis), width]),
            )
            joined.metadata_props[_AXIS] = axis
            if reader is None:
                self.graph.extend(op.nodes)
            else:
                self.graph.insert_before(reader, op.nodes)
            self.packed[value] = joined
        return self.packed[value]

    def _steps(self, value: ir.Value) -> ir.Value:
        """Return the part of a value for the steps, [B, S, N]."""
        self._split(value)
        return self.steps.get(value, value)

    def _piece(self, value: ir.Value) -> ir.Value:
        """Return the part of a value for the piece, [1, S, N]."""
        self._split(value)
        return self.piece[value]

    def _split(self, value: ir.Value) -> None:
        """Split a value that was computed for the tokens of both groups."""
        if self.packed.get(value) is not value or value in self.steps:
            return
        axis, width = value.metadata_props[_AXIS], fixed_size(value, 2)
        op = GraphBuilder(self.graph, f"{value.name}.groups")
        sizes, shape = self._sizes(axis)
        steps, piece = op.Split(value, sizes, axis=1, outputs=2)
        steps = op.Reshape(steps, op.Concat(shape, op.ints(width), axis=0), allowzero=1)
        steps.type, steps.shape = value.type, ir.Shape(["batch", axis, width])
        piece.type, piece.shape = value.type, ir.Shape([1, f"{PIECE}_{axis}", width])
        maker = value.producer()
        assert maker is not None
        self.graph.insert_after(maker, op.nodes)
        self.steps[value], self.piece[value] = steps, piece

    def _sizes(self, axis: str) -> tuple[ir.Value, ir.Value]:
        """Return the numbers of rows of both groups along an axis, int64 [2], and [batch, axis] of the steps."""
        if axis not in self.counts:
            like = next(
                value
                for value in self.graph.inputs
                if port(value).get(GROUP) is None and [str(size) for size in value.shape or ()] == ["batch", axis]
            )
            op = GraphBuilder(self.graph, f"{GROUP}.{axis}")
            shape = op.Shape(like)
            steps = op.ReduceProd(shape, op.ints(0), keepdims=1)
            piece = op.Shape(self.piece[like], start=1, end=2)
            self.counts[axis] = op.Concat(steps, piece, axis=0)
            self.counts[f"{axis}.shape"] = shape
            self.graph.insert_before(self.graph[0], op.nodes)
        return self.counts[axis], self.counts[f"{axis}.shape"]

    def _join_output(self, index: int, value: ir.Value) -> None:
        """Give the rows of both groups in one output, [1, tokens, N]: the caller has views of its parts."""
        packed = self._packed(value, None)
        if packed is not value:
            packed.metadata_props[PORT] = value.metadata_props.pop(PORT)
            packed.name, value.name = value.name, f"{value.name}.steps"
            self.graph.outputs[index] = packed


def _has_tokens(value: ir.Value) -> bool:
    """Return whether the rows of [B, S, N] are those of a group; a formula counts some of an earlier call, too."""
    _, tokens, width = shape_of(value)
    return isinstance(width, int) and str(tokens).isidentifier()


def _routes_rows(node: ir.Node, constant: set[ir.Value | None]) -> bool:
    """Return whether a node is part of a mixture of experts that works on each row of [B, S, N] alone."""
    rows = [required(value) for value in node.inputs if value not in constant]
    if not all(has_rows(value) for value in rows) or not all(has_rows(value) for value in node.outputs):
        return False
    if node.domain == ARCHC:
        return node.op_type == "Experts" and rows == list(node.inputs[:3])
    axis = node.attributes.get("axis")
    return node.op_type in ("Softmax", "TopK") and axis is not None and axis.as_int() in (-1, 2)


_KEYS = 3  # the axis of a mask's keys, [batch, 1, seq, keys]
_AXIS = "archc.axis"  # of a packed value: the name of the axis that its tokens had


def _tokens(axis: str) -> str:
    """Return the name of the axis of both groups' tokens, or of those at the positions of another axis."""
    return TOKENS if axis == "seq" else f"{TOKENS}_{axis}"


def _copy_value(value: ir.Value) -> ir.Value:
    copy = ir.Value(name=f"{PIECE}.{value.name}", type=value.type)
    _describe_copy(copy, value)
    if is_mask(value) and axis_name(value, _KEYS) == CAPACITY:
        # A piece has many queries: to copy the live keys of one sequence costs less than scores of all slots.
        copy.shape = ir.Shape([*shape_of(copy)[:_KEYS], f"{PIECE}_total"])
    facts = port(value)
    if "output" in facts and facts["output"] is not None:
        facts["output"] = f"{PIECE}.{facts['output']}"
    mark(copy, {**facts, GROUP: PIECE})
    return copy


def _describe_copy(copy: ir.Value, value: ir.Value) -> None:
    copy.type, copy.name = value.type, f"{PIECE}.{value.name}"
    if value.shape is not None:
        copy.shape = ir.Shape([_axis(size) for size in value.shape])


def _axis(size: int | ir.SymbolicDim) -> int | str | None:
    """Return an axis of the piece: one row, slots as those of the steps' caches, and other sizes of its own."""
    if isinstance(size, int):
        return size
    name = size.value
    if name is None or name == SOURCE or slots_of(name, 1) is not None or name.startswith("ring_"):
        return name
    return 1 if name == "batch" else f"{PIECE}_{name}"
