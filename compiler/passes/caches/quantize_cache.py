"""Keys and values in 8 bits: a cache of a quarter of the size, and attention's products in integers over it.

Each token's key and value of a head is kept as int8 with a scale of its own. Keys lie transposed, as the product with
the queries wants them. Queries and attention weights become uint8 as they come, each row brought to magnitude one, so
that a row's precision is its own. A latent and the rotating key beside it have a scale each, for their magnitudes have
nothing in common; they serve as keys and as values, and become float32 again for each call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from msgspec.structs import replace

from archc.compiler.ops.operators import ATTENTION_METADATA
from archc.plan.manifest import State

MICROSOFT = "com.microsoft"
_KINDS = ("kv", "ring")
_LEAST = float(np.finfo(np.float32).tiny)


def quantize_caches(model: ir.Model, states: Sequence[State]) -> list[State]:
    """Keeps every growing cache that is float32 as int8 and scales; returns the states as the plan then has them."""
    graph = model.graph
    kept: list[State] = []
    for state in states:
        cache = _find(graph, state) if state.kind in _KINDS and state.dtype == "float32" else None
        kept += [state] if cache is None else _quantize(graph, state, cache)
    if len(kept) > len(states):
        graph.opset_imports[MICROSOFT] = 1
    return kept


@dataclass(frozen=True)
class _Cache:
    """A cache in the graph: its input, the node that writes into it, the slices that read it, and what they are for.

    `parts` are the widths of what lies side by side in it, each with a scale of its own.
    """

    past: ir.Value
    scatter: ir.Node
    slices: tuple[ir.Node, ...]
    use: Literal["keys", "values", "both"]
    parts: tuple[int, ...]


class _Tape:
    """Makes nodes of one cache, each with a name of its own."""

    def __init__(self, graph: ir.Graph, name: str) -> None:
        self.graph, self.name, self.nodes = graph, name, list[ir.Node]()

    def op(
        self, op_type: str, *inputs: ir.Value | None, domain: str = "", **attributes: int | str | list[int]
    ) -> ir.Value:
        return self.all(op_type, inputs, 1, attributes, domain)[0]

    def all(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        outputs: int,
        attributes: Mapping[str, int | str | list[int]],
        domain: str = "",
    ) -> Sequence[ir.Value]:
        listed = [ir.convenience.convert_attribute(name, value) for name, value in attributes.items()]
        name = f"{self.name}.{len(self.nodes)}.{op_type}"
        node = ir.Node(domain, op_type, inputs, listed, num_outputs=outputs, name=name)
        for index, output in enumerate(node.outputs):
            output.name = f"{name}.{index}"
        self.nodes.append(node)
        return node.outputs

    def number(self, array: np.ndarray) -> ir.Value:
        name = f"cache.{array.dtype}.{'_'.join(str(item) for item in array.reshape(-1))}"
        if name not in self.graph.initializers:
            tensor = ir.tensor(array, name=name)
            value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
            self.graph.register_initializer(value)
        return self.graph.initializers[name]

    def ints(self, *items: int) -> ir.Value:
        return self.number(np.array(items, np.int64))

    def real(self, item: float) -> ir.Value:
        return self.number(np.array(item, np.float32))

    def magnitude(self, x: ir.Value) -> ir.Value:
        """The largest magnitude along the last axis, which is kept; never zero."""
        largest = self.op("ReduceMax", self.op("Abs", x), self.ints(-1))
        return self.op("Max", largest, self.real(_LEAST))

    def split(self, x: ir.Value, widths: Sequence[int]) -> Sequence[ir.Value]:
        """The parts of the last axis."""
        return [x] if len(widths) == 1 else self.all("Split", [x, self.ints(*widths)], len(widths), {"axis": -1})

    def join(self, parts: Sequence[ir.Value]) -> ir.Value:
        """Parts of the last axis as one."""
        return parts[0] if len(parts) == 1 else self.all("Concat", parts, 1, {"axis": -1})[0]

    def replace(self, node: ir.Node, result: ir.Value) -> None:
        """Puts the nodes so far before `node`, whose output `result` takes the place of."""
        old = node.outputs[0]
        result.shape, result.type = old.shape, old.type
        self.insert(node)
        ir.convenience.replace_all_uses_with(old, result)
        self.graph.remove(node, safe=True)

    def insert(self, before: ir.Node) -> None:
        self.graph.insert_before(before, [node for node in self.nodes if node.graph is None])


def _find(graph: ir.Graph, state: State) -> _Cache | None:
    past = next(value for value in graph.inputs if value.name == state.input)
    if len(past.uses()) != 1 or len(state.shape) != 4:
        return None
    scatter = next(iter(past.uses())).node
    readers = [use.node for use in scatter.outputs[0].uses()]
    if scatter.op_type != "TensorScatter" or any(node.op_type != "Slice" for node in readers):
        return None
    products = [use for node in readers for use in node.outputs[0].uses()]
    uses = {_use(product.node, product.idx) for product in products}
    use = uses.pop() if len(uses) == 1 else "both"
    parts = _parts([product.node for product in products], int(state.shape[3]))
    return _Cache(past, scatter, tuple(dict.fromkeys(readers)), use, parts)


def _parts(readers: Sequence[ir.Node], width: int) -> tuple[int, ...]:
    """A latent and what is stored beside it, where attention over the cache says that there is one."""
    described = [json.loads(text) for node in readers if (text := node.metadata_props.get(ATTENTION_METADATA))]
    latent = next((item["latent"] for item in described if "latent" in item), width)
    return (latent, width - latent) if latent < width else (width,)


def _use(node: ir.Node, index: int) -> Literal["keys", "values", "both"]:
    """What a product reads a cache for: keys of scores, or values to be summed by weights."""
    if index == 1 and node.op_type == "FusedMatMul":
        given = {"transB": 0, "transA": 0, "transBatchA": 0, "transBatchB": 0}
        given |= {name: attribute.as_int() for name, attribute in node.attributes.items() if name in given}
        if given == {"transB": 1, "transA": 0, "transBatchA": 0, "transBatchB": 0}:
            return "keys"
    return "values" if index == 1 and node.op_type == "MatMul" else "both"


def _quantize(graph: ir.Graph, state: State, cache: _Cache) -> list[State]:
    turned = cache.use == "keys"
    tape = _Tape(graph, cache.scatter.name or state.input)
    past, present = _like(cache.past, state.input, turned), state.output
    past_scale = ir.Value(name=f"{state.input}.scale", type=ir.TensorType(ir.DataType.FLOAT))
    place = list(graph.inputs).index(cache.past)

    new, write_indices = cache.scatter.inputs[1:3]
    assert new is not None
    pieces = tape.split(new, cache.parts)
    steps = [tape.op("Mul", tape.magnitude(piece), tape.real(1 / 127)) for piece in pieces]
    rounded = [tape.op("Round", tape.op("Div", piece, step)) for piece, step in zip(pieces, steps, strict=True)]
    integers, scale = tape.op("Cast", tape.join(rounded), to=int(ir.DataType.INT8)), tape.join(steps)
    # Keys [B, K, D, C] in rows of tokens; values [B, K, C, D]; scales [B, K, 1, C], or a row for each of several parts.
    if turned:
        integers = tape.op("Transpose", integers, perm=[0, 1, 3, 2])
    scale = tape.op("Transpose", scale, perm=[0, 1, 3, 2])
    mode = cache.scatter.attributes.get_string("mode", "linear")

    def write(target: ir.Value, entries: ir.Value, axis: int, name: str) -> ir.Value:
        written = tape.op("TensorScatter", target, entries, write_indices, axis=axis, mode=mode)
        written.name, written.shape, written.type = name, target.shape, target.type
        return written

    assert present is not None
    token = -1 if turned else -2
    sizes = list(state.shape)
    scale_shape = (sizes[0], sizes[1], len(cache.parts), sizes[2])
    past_scale.shape = ir.Shape(scale_shape)
    kept = write(past, integers, token, present)
    kept_scale = write(past_scale, scale, -1, f"{present}.scale")
    cache.scatter.outputs[0].name = None
    tape.insert(cache.scatter)
    _swap(graph, cache, place, (past, past_scale), (kept, kept_scale))

    for node in cache.slices:
        start, end = node.inputs[1:3]
        live = tape.op("Slice", kept, start, end, tape.ints(3 if turned else 2))
        live_scale = tape.op("Slice", kept_scale, start, end, tape.ints(3))
        tape.insert(node)
        if cache.use == "both":
            tape.replace(node, _plain(tape, live, live_scale, cache.parts))
            continue
        for product in [use.node for use in node.outputs[0].uses()]:
            (_scores if turned else _sums)(tape, product, live, live_scale)
        graph.remove(node, safe=True)
    graph.remove(cache.scatter, safe=True)

    shape = (*sizes[:2], sizes[3], sizes[2]) if turned else tuple(sizes)
    integer_state = replace(state, dtype="int8", shape=shape)
    names = {"input": past_scale.name, "output": kept_scale.name}
    return [integer_state, replace(state, **names, shape=scale_shape)]


def _plain(tape: _Tape, integers: ir.Value, scale: ir.Value, parts: Sequence[int]) -> ir.Value:
    """float32 again, of integers [B, K, T, D] and scales [B, K, parts, T]."""
    columns = tape.split(tape.op("Transpose", scale, perm=[0, 1, 3, 2]), [1] * len(parts))
    cast = [tape.op("Cast", piece, to=int(ir.DataType.FLOAT)) for piece in tape.split(integers, parts)]
    return tape.join([tape.op("Mul", piece, column) for piece, column in zip(cast, columns, strict=True)])


def _like(old: ir.Value, name: str, turned: bool) -> ir.Value:
    assert old.shape is not None
    batch, heads, slots, width = old.shape
    shape = ir.Shape([batch, heads, width, slots] if turned else [batch, heads, slots, width])
    return ir.Value(name=name, shape=shape, type=ir.TensorType(ir.DataType.INT8))


def _swap(
    graph: ir.Graph, cache: _Cache, place: int, inputs: tuple[ir.Value, ...], outputs: tuple[ir.Value, ...]
) -> None:
    """The graph's input and output of a cache as two of each."""
    graph.inputs[place : place + 1] = inputs
    old = cache.scatter.outputs[0]
    found = next(index for index, output in enumerate(graph.outputs) if output is old)
    graph.outputs[found : found + 1] = outputs


def _scores(tape: _Tape, product: ir.Node, keys: ir.Value, scale: ir.Value) -> None:
    """alpha · q · kᵀ for queries [B, K, R, D], integer keys [B, K, D, T] and their scales [B, K, 1, T]."""
    q = product.inputs[0]
    assert q is not None
    size = tape.magnitude(q)
    quantised = tape.all("DynamicQuantizeLinear", [tape.op("Div", q, size)], 3, {})
    integers = tape.op("MatMulInteger", quantised[0], keys, quantised[2])
    alpha = product.attributes.get_float("alpha", 1.0)
    rows = tape.op("Mul", size, tape.op("Mul", quantised[1], tape.real(alpha)))
    scores = tape.op("Mul", tape.op("Cast", integers, to=int(ir.DataType.FLOAT)), scale)
    tape.replace(product, tape.op("Mul", scores, rows))


def _sums(tape: _Tape, product: ir.Node, values: ir.Value, scale: ir.Value) -> None:
    """w · v for weights [B, K, R, T], integer values [B, K, T, D] and their scales [B, K, 1, T]."""
    weights = product.inputs[0]
    assert weights is not None
    scaled = tape.op("Mul", weights, scale)
    size = tape.op("Max", tape.op("ReduceMax", scaled, tape.ints(-1)), tape.real(_LEAST))
    zero, step = tape.number(np.array(0, np.uint8)), 1 / 255
    integers = tape.op("QuantizeLinear", tape.op("Div", scaled, size), tape.real(step), zero)
    sums = tape.op("Cast", tape.op("MatMulInteger", integers, values, zero), to=int(ir.DataType.FLOAT))
    tape.replace(product, tape.op("Mul", sums, tape.op("Mul", size, tape.real(step))))
