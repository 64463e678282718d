"""The contract of Optimum's exports: an attention mask over all tokens, caches that grow, logits of every token.

Runtimes that know no plan feed `attention_mask`, 1 for a token and 0 for padding on either side, and keep the outputs
`present*` as the next call's `past*`. Masks, write indices and lengths are computed from it in the graph. States of
fixed size stay as they are. Recurrences read the tokens of a call first and its padding last, so that a graph with no
other state turns each row to begin with its first token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import onnx_ir as ir

from archc.compiler.contract.ports import mark_state_input, port, state_kind
from archc.compiler.errors import BuildError
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.values import replace_value, required, shape_of
from archc.compiler.lowerings.attention.caches import SLOTS
from archc.compiler.passes.cross_branch import SOURCE_AXIS

PAST, TOTAL = "past_sequence_length", "total_sequence_length"
ATTENTION_MASK = "attention_mask"
SOURCE_MASK = "encoder_attention_mask"
_AXES = {"batch": "batch_size", "seq": "sequence_length"}
_OUTPUTS = {"hidden_states": "last_hidden_state", "pooled": "pooler_output", "classes": "logits"}


class GrowingCaches(ir.passes.InPlacePass):
    """Replaces the inputs that a plan's runtime computes, and the slots of caches; `names` are those of fixed states.

    Raises BuildError for a graph whose inputs or caches have no such form.
    """

    def __init__(self, names: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__()
        self.names = names

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rebuild the inputs and outputs of a graph."""
        _Contract(model.graph).run(self.names)
        return ir.passes.PassResult(model, modified=True)


class _Contract:
    def __init__(self, graph: ir.Graph) -> None:
        self.graph, self.op = graph, GraphBuilder(graph, ATTENTION_MASK)
        self.ids = next(value for value in graph.inputs if port(value).get("role") == "token_ids")
        kinds = {kind for value in graph.inputs if (kind := state_kind(value))}
        self.has_cache, self.has_source = bool(kinds), "cross" in kinds
        self.is_recurrent = kinds == {"fixed"}
        total = TOTAL if self.has_cache else str(shape_of(self.ids)[1])
        self.mask = self._ones() if self.has_source else _mask(ATTENTION_MASK, total)

    def run(self, names: Mapping[str, str]) -> None:
        for value in self.graph.inputs:
            if state_kind(value) == "block":
                raise BuildError(
                    f"target onnx-hf: {value.name} has one slot for several tokens, which is not supported; "
                    "choose the target onnx"
                )
        computed: dict[str, Callable[[ir.Value], ir.Value]] = {
            "mask": self._seen,
            "lengths": lambda value: self._new_tokens(),
            "logit_positions": lambda value: self._turned(-1) if self.is_recurrent else self._places(),
            "write_indices": lambda value: self._past_tokens(),
            **({"positions": lambda value: self._own_positions()} if self.has_source or not self.has_cache else {}),
        }
        self._grow()
        self._rename(names)
        if self.is_recurrent:
            self._turn_rows()
        else:
            self._take_all()
        self._name_asked()
        for value in list(self.graph.inputs):
            role = port(value).get("role")
            if role in computed and value.uses():
                replace_all(value, computed[role](value))
            elif role == "block_positions":
                raise BuildError("target onnx-hf: positions in blocks are not supported; choose the target onnx")
            if role in computed:
                self.graph.inputs.remove(value)
        if not self.has_source:
            self.graph.inputs.insert(1, self.mask)
        self.graph.insert_before(self.graph[0], self.op.nodes)
        self._name_axes()
        roles = {port(value).get("role") for value in self.graph.outputs}
        for value in self.graph.outputs:
            role = port(value).get("role", "")
            if role in _OUTPUTS and not (role == "classes" and "logits" in roles):
                value.name = _OUTPUTS[role]

    def _grow(self) -> None:
        """Append the entries of a call to the caches."""
        for node in list(self.graph):
            if (node.domain, node.op_type) != (ARCHC, "UpdateCache"):
                continue
            cache, new = map(required, node.inputs[:2])
            op = GraphBuilder(self.graph, node.name or "cache")
            grown = op.Concat(cache, new, axis=SLOTS)
            self.graph.insert_before(node, op.nodes)
            replace_value(node.outputs[0], grown)
            self.graph.remove(node, safe=True)
            for value, slots in ((cache, PAST), (grown, TOTAL)):
                sizes = list(shape_of(value))
                value.shape = ir.Shape([*sizes[:SLOTS], slots, *sizes[SLOTS + 1 :]])
                if self.has_source:
                    place, layer, name = str(value.name).split(".")
                    value.name = f"{place}.{layer}.decoder.{name}"
            mark_state_input(cache, "kv", str(grown.name))

    def _rename(self, names: Mapping[str, str]) -> None:
        """Give fixed states the names of other runtimes."""
        outputs = {str(value.name): value for value in self.graph.outputs}
        for value in self.graph.inputs:
            if str(value.name) in names:
                output = outputs[port(value)["output"]]
                value.name = names[str(value.name)]
                output.name = value.name.replace("past", "present", 1)
                mark_state_input(value, "fixed", output.name)

    def _turn_rows(self) -> None:
        """Let the graph read each row from its first token on, with the padding before it at the end."""
        readers = list(self.ids.uses())
        turned = self.op.GatherElements(self.ids, self._turned(1), axis=1)
        turned.type, turned.shape = self.ids.type, self.ids.shape
        for node, index in readers:
            node.replace_input_with(index, turned)

    def _turned(self, direction: int) -> ir.Value:
        """Build the places of rows in turned rows, int64 [batch, seq], or with -1 of turned ones in rows."""
        op = self.op
        # ONNX Runtime has a kernel for 64 bits since 1.20 alone.
        first = op.ArgMax(op.Cast(self._own_mask(), to=ir.DataType.INT32), axis=1, keepdims=1)
        shifted = op.Add(self._places(), first) if direction > 0 else op.Sub(self._places(), first)
        turned: ir.Value = op.Mod(shifted, op.Shape(self.ids, start=1, end=2))
        return turned

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
        """Give the axis of requested positions the name of the sequence's."""
        sequence = shape_of(self.ids)[1]
        for value in [*self.graph.outputs, *(output for node in self.graph for output in node.outputs)]:
            if value.shape is not None and "asked" in map(str, value.shape):
                value.shape = ir.Shape([sequence if str(size) == "asked" else size for size in value.shape])

    def _name_axes(self) -> None:
        """Name the axes as Optimum does."""
        for value in (*self.graph.inputs, *self.graph.outputs):
            sizes = (size if isinstance(size, int) else _AXES.get(str(size), str(size)) for size in shape_of(value))
            value.shape = ir.Shape(list(sizes))

    def _seen(self, value: ir.Value) -> ir.Value:
        """Build bool [batch, 1, seq, total]; padding sees itself, because a softmax over nothing is not a number."""
        facts, op = port(value)["mask"], self.op
        if facts["kind"] == "source":
            return self._seen_of_source()
        if facts["kind"] not in ("causal", "bidirectional"):
            raise BuildError(f"target onnx-hf: {facts['kind']} masks are not supported; choose the target onnx")
        total = op.Shape(self.mask, start=1, end=2)
        begin = op.Sub(total, op.Shape(self.ids, start=1, end=2))
        zero, one = op.scalar(0), op.scalar(1)
        ends = [op.Squeeze(size) for size in (begin, total)]
        queries = op.Unsqueeze(op.Range(*ends, one), op.ints(1))
        keys = op.Unsqueeze(op.Range(zero, ends[1], one), op.ints(0))
        seen: Any = op.Cast(op.Unsqueeze(self.mask, op.ints(1, 2)), to=ir.DataType.BOOL)
        causal, window = facts["kind"] == "causal", facts.get("window")
        if causal:
            seen = op.And(seen, op.LessOrEqual(keys, queries))
        if window is not None and facts.get("chunked"):
            seen = op.And(seen, self._same_chunk(window, begin, total))
        elif window is not None:
            # A window of the past has the query itself, one of both sides does not count it.
            distance = op.Sub(op.Unsqueeze(self._own_positions(), op.ints(1, 3)), self._key_positions())
            distance = distance if causal else op.Abs(distance)
            seen = op.And(seen, op.LessOrEqual(distance, op.scalar(window - 1 if causal else window)))
        built: ir.Value = op.Or(seen, op.Equal(keys, queries))
        built.shape = ir.Shape(["batch", 1, shape_of(self.ids)[1], shape_of(self.mask)[1]])
        return built

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

    def _same_chunk(self, size: int, begin: ir.Value, total: ir.Value) -> ir.Value:
        """Build bool [batch, 1, seq, total]: whether keys are in the query's chunk of positions."""
        op = self.op
        chunks = op.Div(self._positions(), op.scalar(size))
        own = op.Slice(chunks, begin, total, op.ints(1))
        same: ir.Value = op.Equal(op.Unsqueeze(chunks, op.ints(1, 2)), op.Unsqueeze(own, op.ints(1, 3)))
        return same

    def _key_positions(self) -> ir.Value:
        """Build the positions of all keys, int64 [batch, 1, 1, total]."""
        positions: ir.Value = self.op.Unsqueeze(self._positions(), self.op.ints(1, 2))
        return positions

    def _own_mask(self) -> ir.Value:
        """Build the mask of the call's tokens, int64 [batch, seq]."""
        op, total = self.op, self.op.Shape(self.mask, start=1, end=2)
        own: ir.Value = op.Slice(self.mask, op.Sub(total, op.Shape(self.ids, start=1, end=2)), total, op.ints(1))
        return own

    def _new_tokens(self) -> ir.Value:
        """Build the numbers of tokens of the call without padding, int64 [batch]."""
        counted: ir.Value = self.op.ReduceSum(self._own_mask(), self.op.ints(1), keepdims=0)
        return counted

    def _past_tokens(self) -> ir.Value:
        """Build the numbers of tokens of earlier calls without padding, int64 [batch]."""
        past: ir.Value = self.op.Sub(self.op.ReduceSum(self.mask, self.op.ints(1), keepdims=0), self._new_tokens())
        return past

    def _places(self) -> ir.Value:
        """Build the places of the call's tokens in their rows, int64 [batch, seq]."""
        op = self.op
        count = op.Squeeze(op.Shape(self.ids, start=1, end=2))
        places: ir.Value = op.Add(op.Sub(self.ids, self.ids), op.Range(op.scalar(0), count, op.scalar(1)))
        return places

    def _own_positions(self) -> ir.Value:
        """Build the positions of the call's tokens, int64 [batch, seq]."""
        if not self.has_cache:
            return self._positions()
        op, total = self.op, self.op.Shape(self.mask, start=1, end=2)
        own: ir.Value = op.Slice(
            self._positions(), op.Sub(total, op.Shape(self.ids, start=1, end=2)), total, op.ints(1)
        )
        return own

    def _positions(self) -> ir.Value:
        """Build the positions of all tokens without padding, int64 [batch, total]."""
        op = self.op
        ordinals = op.Sub(op.CumSum(self.mask, op.scalar(1)), op.scalar(1))
        positions: ir.Value = op.Max(ordinals, op.scalar(0))
        return positions


def _mask(name: str, axis: str) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(["batch", axis]))


def replace_all(old: ir.Value, new: ir.Value) -> None:
    """Let the readers of an input read a computed value of the same type."""
    new.type, new.shape = old.type, new.shape or old.shape
    ir.convenience.replace_all_uses_with(old, new)
