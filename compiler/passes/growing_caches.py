"""The contract of Optimum's exports: an attention mask over all tokens, caches that grow, logits of every token.

Runtimes that know no plan feed `attention_mask`, 1 for a token and 0 for padding on either side, and keep the outputs
`present*` as the next call's `past*`. Masks, write indices and lengths are computed from it in the graph. States of
fixed size stay as they are.

Entries of caches have the columns of the attention mask. Other states are of the tokens of a row without its padding:
a graph with such a state reads turned rows, the tokens of a call first and its padding last, and turns the entries of
its caches and its logits back. If blocks of keys are counted from the first token of a row, caches have each row's
tokens from the first slot on, and a cache with one slot for each block grows to the whole blocks of the mask, and one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import onnx_ir as ir

from archc.archspec import vocabulary as words
from archc.compiler.contract.ports import mark_state_input, port, state_kind
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.values import dtype_of, replace_value, required, shape_of
from archc.compiler.lowerings.attention.caches import SLOTS
from archc.compiler.passes.cross_branch import SOURCE_AXIS
from archc.compiler.passes.growing_biases import use_positions
from archc.compiler.passes.growing_masks import Masks
from archc.compiler.passes.growing_prompts import Prompts
from archc.compiler.passes.growing_rows import Rows

PAST, TOTAL = "past_sequence_length", "total_sequence_length"
PAST_BLOCKS, TOTAL_BLOCKS = "past_blocks_of_{}", "total_blocks_of_{}"
ATTENTION_MASK = "attention_mask"
SOURCE_MASK = "encoder_attention_mask"
_AXES = {"batch": "batch_size", "seq": "sequence_length"}
_OUTPUTS = {"hidden_states": "last_hidden_state", "pooled": "pooler_output", "classes": "logits"}
_OF_BLOCKS = ("MaskOfBlocks", "SelectBlocks", "SelectWholeBlocks")


class GrowingCaches(ir.passes.InPlacePass):
    """Replaces the inputs that a plan's runtime computes, and the slots of caches.

    `names` are those of fixed states; `prefix` describes the prompts of a prefix LM.
    """

    def __init__(self, names: Mapping[str, str] = MappingProxyType({}), prefix: words.Prefix | None = None) -> None:
        super().__init__()
        self.names, self.prefix = names, prefix

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rebuild the inputs and outputs of a graph."""
        _Contract(model.graph, self.prefix).run(self.names)
        return ir.passes.PassResult(model, modified=True)


class _Contract:
    def __init__(self, graph: ir.Graph, prefix: words.Prefix | None) -> None:
        self.graph, self.op = graph, GraphBuilder(graph, ATTENTION_MASK)
        self.ids = next(value for value in graph.inputs if port(value).get("role") == "token_ids")
        kinds = {kind for value in graph.inputs if (kind := state_kind(value))}
        self.has_cache, self.has_source = bool(kinds), "cross" in kinds
        self.in_slots = any(node.domain == ARCHC and node.op_type in _OF_BLOCKS for node in graph)
        turned = self.in_slots or "fixed" in kinds
        total = TOTAL if self.has_cache else str(shape_of(self.ids)[1])
        self.mask = self._ones() if self.has_source else _mask(ATTENTION_MASK, total)
        self.rows = Rows(self.op, self.ids, self.mask, self.has_cache, turned)
        self.prompts = Prompts(self.rows, prefix) if prefix is not None else None

    def run(self, names: Mapping[str, str]) -> None:
        rows = self.rows
        computed: dict[str, Callable[[ir.Value], ir.Value]] = {
            "mask": self._seen,
            "lengths": lambda value: rows.new,
            "logit_positions": lambda value: rows.from_turned,
            "write_indices": lambda value: rows.past,
            "block_positions": lambda value: self._prompts().positions(),
        }
        if self.has_source or not self.has_cache:
            computed["positions"] = lambda value: rows.own_positions
        self._turn(("token_ids", *({"positions"} - set(computed))))
        self._grow()
        self._rename(names)
        if not rows.turned:
            self._take_all()
        self._name_asked()
        if self.has_cache and not self.has_source and not self.in_slots:
            use_positions(self.graph, rows)
        for value in list(self.graph.inputs):
            role = port(value).get("role")
            if role in computed and value.uses():
                replace_all(value, computed[role](value))
            if role in computed:
                self.graph.inputs.remove(value)
        if not self.has_source:
            self.graph.inputs.insert(1, self.mask)
        if self.prompts is not None:
            self.graph.inputs.append(self.prompts.past)
            self.graph.outputs.append(self.prompts.present())
        self.graph.insert_before(self.graph[0], self.op.nodes)
        self._name_axes()
        roles = {port(value).get("role") for value in self.graph.outputs}
        for value in self.graph.outputs:
            role = port(value).get("role", "")
            if role in _OUTPUTS and not (role == "classes" and "logits" in roles):
                value.name = _OUTPUTS[role]

    def _prompts(self) -> Prompts:
        assert self.prompts is not None, "prompts of a model without a prefix"
        return self.prompts

    def _turn(self, roles: tuple[str, ...]) -> None:
        """Let the graph read inputs of these roles in turned rows."""
        for value in self.graph.inputs:
            readers = list(value.uses())
            if port(value).get("role") in roles and readers and self.rows.turned:
                turned = self.rows.turn(value)
                for node, index in readers:
                    node.replace_input_with(index, turned)

    def _grow(self) -> None:
        """Append the entries of a call to the caches."""
        for node in list(self.graph):
            if (node.domain, node.op_type) != (ARCHC, "UpdateCache"):
                continue
            cache, facts = required(node.inputs[0]), port(required(node.inputs[0]))
            op = GraphBuilder(self.graph, node.name or "cache")
            kind, block = facts["state"], facts.get("block")
            grown = self._grow_blocks(op, node, block) if block is not None else self._grow_cache(op, node)
            self.graph.insert_before(node, op.nodes)
            replace_value(node.outputs[0], grown)
            self.graph.remove(node, safe=True)
            names = (PAST, TOTAL) if block is None else (PAST_BLOCKS.format(block), TOTAL_BLOCKS.format(block))
            for value, slots in zip((cache, grown), names, strict=True):
                sizes = list(shape_of(value))
                value.shape = ir.Shape([*sizes[:SLOTS], slots, *sizes[SLOTS + 1 :]])
                if self.has_source:
                    place, layer, name = str(value.name).split(".")
                    value.name = f"{place}.{layer}.decoder.{name}"
            mark_state_input(cache, kind, str(grown.name), block=block)

    def _grow_cache(self, op: GraphBuilder, node: ir.Node) -> ir.Value:
        """Build a cache with the entries of a call: in its columns, or in the slots of each row."""
        cache, new = map(required, node.inputs[:2])
        if self.rows.turned and not self.in_slots:
            places = op.Expand(op.Unsqueeze(self.rows.from_turned, op.ints(1, 3)), op.Shape(new))
            new = op.GatherElements(new, places, axis=SLOTS)
        grown: ir.Value = op.Concat(cache, new, axis=SLOTS)
        return _write(op, grown, new, self.rows.slots) if self.in_slots else grown

    def _grow_blocks(self, op: GraphBuilder, node: ir.Node, block: int) -> ir.Value:
        """Build a cache with one slot for each whole block of the columns, and one more, which a call may write."""
        cache, new, first = map(required, node.inputs)
        slots = op.Add(op.Div(self.rows.total, op.ints(block)), op.ints(1))
        missing = op.Sub(slots, op.Shape(cache, start=SLOTS, end=SLOTS + 1))
        heads, width = (op.Shape(new, start=start, end=end) for start, end in ((0, SLOTS), (SLOTS + 1, SLOTS + 2)))
        zeros = op.Expand(op.scalar(0.0, dtype_of(cache)), op.Concat(heads, missing, width, axis=0))
        count = op.Squeeze(op.Shape(new, start=SLOTS, end=SLOTS + 1))
        places = op.Add(op.Unsqueeze(first, op.ints(1)), op.Range(op.scalar(0), count, op.scalar(1)))
        return _write(op, op.Concat(cache, zeros, axis=SLOTS), new, places)

    def _rename(self, names: Mapping[str, str]) -> None:
        """Give fixed states the names of other runtimes."""
        outputs = {str(value.name): value for value in self.graph.outputs}
        for value in self.graph.inputs:
            if str(value.name) in names:
                output = outputs[port(value)["output"]]
                value.name = names[str(value.name)]
                output.name = value.name.replace("past", "present", 1)
                mark_state_input(value, "fixed", output.name)

    def _take_all(self) -> None:
        """Compute the logits of every token."""
        for node in list(self.graph):
            if (node.domain, node.op_type) != (ARCHC, "TakePositions"):
                continue
            if port(required(node.inputs[1])).get("role") != "logit_positions":
                continue  # a pooler's
            rows, taken = required(node.inputs[0]), node.outputs[0]
            ir.convenience.replace_all_uses_with(taken, rows, replace_graph_outputs=True)
            self.graph.remove(node, safe=True)

    def _name_asked(self) -> None:
        """Give the axes of requested positions, and of the blocks of keys, the names of the call's."""
        sequence = str(shape_of(self.ids)[1])
        names = {"asked": sequence}
        for node in self.graph:
            if (node.domain, node.op_type) == (ARCHC, "MaskOfBlocks"):
                names[str(shape_of(node.outputs[0])[3])] = TOTAL_BLOCKS.format(node.attributes["block"].as_int())
        for value in [*self.graph.outputs, *(output for node in self.graph for output in node.outputs)]:
            if value.shape is not None and not names.keys().isdisjoint(map(str, value.shape)):
                value.shape = ir.Shape([names.get(str(size), size) for size in value.shape])

    def _name_axes(self) -> None:
        """Name the axes as Optimum does."""
        for value in (*self.graph.inputs, *self.graph.outputs):
            sizes = (size if isinstance(size, int) else _AXES.get(str(size), str(size)) for size in shape_of(value))
            value.shape = ir.Shape(list(sizes))

    def _seen(self, value: ir.Value) -> ir.Value:
        """Build a mask; that of a source is [batch, 1, 1, source]."""
        facts = port(value)["mask"]
        if facts["kind"] == "source":
            return self._seen_of_source()
        return Masks(self.rows, self.in_slots, lambda: self._prompts().lengths).build(facts)

    def _seen_of_source(self) -> ir.Value:
        """Build bool [batch, 1, 1, source] of the tokens that the encoder read."""
        mask = _mask(SOURCE_MASK, SOURCE_AXIS)
        self.graph.inputs.append(mask)
        seen: ir.Value = self.op.Cast(self.op.Unsqueeze(mask, self.op.ints(1, 2)), to=ir.DataType.BOOL)
        seen.shape = ir.Shape(["batch", 1, 1, SOURCE_AXIS])
        return seen

    def _ones(self) -> ir.Value:
        """Build the mask of tokens without padding, int64 [batch, total]."""
        op = self.op
        past = next(value for value in self.graph.inputs if state_kind(value) == "kv")
        begin, count = op.Shape(past, start=SLOTS, end=SLOTS + 1), op.Shape(self.ids, start=1, end=2)
        ones: ir.Value = op.Expand(op.scalar(1), op.Concat(op.Shape(self.ids, end=1), op.Add(begin, count), axis=0))
        ones.type, ones.shape = ir.TensorType(ir.DataType.INT64), ir.Shape(["batch", TOTAL])
        return ones


def _write(op: GraphBuilder, cache: ir.Value, new: ir.Value, slots: ir.Value) -> ir.Value:
    """Build a cache with new entries [batch, heads, n, width] in these slots, int64 [batch, n]."""
    places = op.Expand(op.Unsqueeze(slots, op.ints(1, 3)), op.Shape(new))
    written: ir.Value = op.ScatterElements(cache, places, new, axis=SLOTS)
    return written


def _mask(name: str, axis: str) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(["batch", axis]))


def replace_all(old: ir.Value, new: ir.Value) -> None:
    """Let the readers of an input read a computed value of the same type."""
    new.type, new.shape = old.type, new.shape or old.shape
    ir.convenience.replace_all_uses_with(old, new)
