"""Attention of many queries a block of them at a time, over the keys that some query of the block sees.

A prompt's scores are queries × keys: written as a whole they leave the processor's caches, and under a causal mask half
of them are of keys that are hidden. A block's scores are small, and its keys end where the mask hides the rest from all
of its queries (Dao et al. 2022 cut keys into blocks as well; here a row's softmax stays whole). A Loop over blocks does
that, under an If on the number of queries: a token of decoding takes the plain form.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from compiler.passes.nodes import Tape

BLOCK = 64
"""Queries at a time."""
MANY = 128
"""From so many queries on, blocks win more than a Loop costs."""
_PRODUCTS = ("MatMul", "FusedMatMul", "MatMulInteger")
_BETWEEN = frozenset(
    {"Add", "Cast", "CastLike", "Concat", "Expand", "Mul", "Reshape", "Shape", "Slice", "Tanh", "Where"}
)
_BY_SCORE = ("Add", "Mul", "Where")
_QUERIES, _KEYS = 2, 3  # the axes of scores


@dataclass
class _Attention:
    """The nodes from queries to what is mixed for them, and which axes of what they read are queries and keys."""

    nodes: list[ir.Node]
    result: ir.Value
    axes: dict[ir.Value, tuple[int | None, int | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Blocks:
    """For each block the first query and the end, and the keys between which all lie that it sees: int64 [n, 1]."""

    many: ir.Value
    queries: tuple[ir.Value, ir.Value]
    keys: tuple[ir.Value, ir.Value]


def block_attention(model: ir.Model) -> int:
    """Puts every attention whose mask says which keys are seen under an If with both forms; returns how many."""
    graph = model.graph
    blocks: dict[ir.Value, _Blocks] = {}
    count = 0
    for softmax in [node for node in graph.all_nodes() if node.op_type == "Softmax"]:
        attention = _attention(softmax)
        masks = [mask for value in attention.axes if (mask := _seen(value)) is not None] if attention else []
        if attention is None or not masks:
            continue
        if masks[0] not in blocks:
            blocks[masks[0]] = _cut(graph, masks[0])
        _choose(graph, softmax.name or "", attention, blocks[masks[0]])
        count += 1
    return count


def _attention(softmax: ir.Node) -> _Attention | None:
    """What is around a softmax, or None where that is not scores of queries and keys, and sums of values by them."""
    before, after = _back_to_queries(softmax), _on_to_sums(softmax)
    if not before or not after:
        return None
    inside = [*before, softmax, *after]
    attention = _Attention([], after[-1].outputs[0])
    for node in before:
        if node.op_type in _PRODUCTS:
            inside += _note_keys(node, attention)
            attention.axes[_queries(node)[1]] = (2, None)
    for node in after:
        if node.op_type in _PRODUCTS:
            attention.axes[_input(node, 1)] = (None, 2)
    order = {node: place for place, node in enumerate(softmax.graph or ())}
    if not set(inside) <= order.keys():
        return None
    attention.nodes = sorted(set(inside), key=order.__getitem__)
    made = {output for node in attention.nodes for output in node.outputs}
    for value in made - {attention.result}:
        if value.is_graph_output() or any(use.node not in order or use.node not in inside for use in value.uses()):
            return None
    for node in (*before, *after):
        if node.op_type in _BY_SCORE and not _add_operands(node, made, attention):
            return None
    return attention


def _back_to_queries(softmax: ir.Node) -> list[ir.Node]:
    """The nodes that make scores out of queries; those of masks and biases are not among them."""
    seen: list[ir.Node] = []
    waiting = [softmax.inputs[0]]
    while waiting:
        value = waiting.pop()
        node = value.producer() if value is not None else None
        if node is None or node in seen or node.graph is not softmax.graph:
            continue
        if node.op_type in _PRODUCTS:
            seen.append(node)
        elif node.op_type in _BETWEEN:
            seen.append(node)
            waiting += node.inputs
    products = [node for node in seen if node.op_type in _PRODUCTS]
    scores = {*products, *(node for product in products for node in _queries(product)[0])}
    while more := {node for node in seen if node not in scores and not scores.isdisjoint(node.predecessors())}:
        scores |= more
    return list(scores)


def _queries(product: ir.Node) -> tuple[list[ir.Node], ir.Value]:
    """The queries [B, H, S, D] that a product of scores reads, and the nodes that bring them into its form: as rows of
    their key head, and as integers, for which each row was divided by its magnitude."""
    nodes: list[ir.Node] = []
    query = _input(product, 0)
    if product.op_type == "MatMulInteger":
        nodes = _chain_back(query, "DynamicQuantizeLinear", "Div")
        query = _input(nodes[-1], 0)
        nodes += _chain_back(_input(nodes[-1], 1), "Max", "ReduceMax", "Abs")
    maker = query.producer()
    if _groups_rows(maker) and {use.node for use in query.uses()} <= {product, *nodes}:
        assert maker is not None
        nodes.append(maker)
        query = _input(maker, 0)
    return nodes, query


def _chain_back(value: ir.Value, *op_types: str) -> list[ir.Node]:
    """The nodes of these types that a value comes from, each by the first input of the one after it."""
    nodes: list[ir.Node] = []
    for op_type in op_types:
        node = value.producer()
        assert node is not None
        assert node.op_type == op_type, f"{value.name} comes from {node.op_type}, not {op_type}"
        nodes.append(node)
        value = _input(node, 0)
    return nodes


def _on_to_sums(softmax: ir.Node) -> list[ir.Node]:
    """The nodes that lead from weights to the sums of values by them; [] where weights go elsewhere."""
    path = [softmax]
    while path[-1].op_type not in _PRODUCTS:
        uses = list(path[-1].outputs[0].uses())
        if {use.node.op_type for use in uses} == {"ReduceMax", "Div"}:
            path += _integer_sums(path[-1])
            break
        if len(uses) != 1 or uses[0].idx != 0 or uses[0].node.op_type not in (*_PRODUCTS, *_BETWEEN):
            return []
        path.append(uses[0].node)
    uses = list(path[-1].outputs[0].uses())
    if len(uses) == 1 and _groups_rows(uses[0].node):
        path.append(uses[0].node)
    return path[1:]


def _integer_sums(weights: ir.Node) -> list[ir.Node]:
    """From weights to sums of integer values by them: each row divided by its magnitude, which the sums get back."""
    readers = {use.node.op_type: use.node for use in weights.outputs[0].uses()}
    divided = readers["Div"]
    path = [divided]
    for op_type in ("QuantizeLinear", "MatMulInteger", "Cast", "Mul"):
        ((node, _),) = path[-1].outputs[0].uses()
        assert node.op_type == op_type, f"{path[-1].name} feeds {node.op_type}, not {op_type}"
        path.append(node)
    return [
        readers["ReduceMax"],
        *_chain_back(_input(divided, 1), "Max"),
        *_chain_back(_input(path[-1], 1), "Mul"),
        *path,
    ]


def _groups_rows(node: ir.Node | None) -> bool:
    """Whether a node moves query heads between the axes of heads and of rows: Reshape to [0, heads, −1, width]."""
    sizes = ir.convenience.get_const_tensor(node.inputs[1]) if node is not None and node.op_type == "Reshape" else None
    return sizes is not None and sizes.size == 4 and int(sizes.numpy()[2]) == -1


def _note_keys(product: ir.Node, attention: _Attention) -> list[ir.Node]:
    """Notes which axis of a product of scores' second input is keys; a Transpose before it belongs to the attention."""
    keys = _input(product, 1)
    if product.attributes.get_int("transB", 0):
        attention.axes[keys] = (None, 2)
        return []
    maker = keys.producer()
    if maker is None or not _swaps_last(maker) or len(keys.uses()) > 1:
        attention.axes[keys] = (None, 3)
        return []
    attention.axes[_input(maker, 0)] = (None, 2)
    return [maker]


def _input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    assert value is not None
    return value


def _swaps_last(node: ir.Node) -> bool:
    return node.op_type == "Transpose" and list(node.attributes["perm"].as_ints()) == [0, 1, 3, 2]


def _add_operands(node: ir.Node, made: set[ir.Value], attention: _Attention) -> bool:
    """Notes the axes of what is added to scores or hides them; False where its shape does not say them."""
    for value in node.inputs:
        if value is None or value in made or ir.convenience.get_const_tensor(value) is not None:
            continue
        if value.shape is None or len(value.shape) != 4:
            return False
        axes = [None if value.shape[axis] == 1 else axis for axis in (_QUERIES, _KEYS)]
        attention.axes[value] = (axes[0], axes[1])
    return True


def _seen(value: ir.Value) -> ir.Value | None:
    """The boolean mask, true where a key is seen, that a mask is or was made of."""
    maker = value.producer()
    if maker is not None and maker.op_type == "Where":
        value = maker.inputs[0] or value
    if value.dtype is not ir.DataType.BOOL or value.shape is None or len(value.shape) != 4:
        return None
    return None if 1 in (value.shape[_QUERIES], value.shape[_KEYS]) else value


def _cut(graph: ir.Graph, mask: ir.Value) -> _Blocks:
    """The blocks of a mask's queries, found once for all layers, and for prompts alone."""
    name = f"{mask.name}.blocks"
    before = Tape(graph, f"{name}.choice")
    many = before("GreaterOrEqual", before("Shape", mask, start=_QUERIES, end=_KEYS), before.integers(MANY))

    op = Tape(graph, name)
    queries, keys = op("Shape", mask, start=_QUERIES, end=_KEYS), op("Shape", mask, start=_KEYS)
    seen = op("ReduceMax", op("Cast", mask, to=ir.DataType.UINT8.value), op.integers(0, 1), keepdims=0)
    missing = op("Mod", op("Neg", queries), op.integers(BLOCK))
    padded = op("Pad", seen, op("Concat", op.integers(0, 0), missing, op.integers(0), axis=0))
    by_block = op("Reshape", padded, op("Concat", op.integers(-1, BLOCK), keys, axis=0))
    any_sees = op("ReduceMax", by_block, op.integers(1), keepdims=0)
    first = op("ArgMax", any_sees, axis=1)
    end = op("Add", op("ArgMax", any_sees, axis=1, select_last_index=1), op.integers(1))
    rows = op("Range", op.scalar(0), op("Squeeze", queries), op.scalar(BLOCK))
    row = op("Unsqueeze", rows, op.integers(1))
    found = (row, op("Add", row, op.integers(BLOCK)), first, end)

    none = Tape(graph, f"{name}.none")
    nothing = [none("Identity", none.constant(np.zeros((1, 1), np.int64))) for _ in found]
    branches = {"then_branch": (op, found), "else_branch": (none, nothing)}
    attributes = [
        ir.AttrGraph(key, ir.Graph([], list(values), nodes=tape.nodes, name=tape.name))
        for key, (tape, values) in branches.items()
    ]
    choice = ir.Node("", "If", [many], attributes, num_outputs=4, name=f"{name}.form")
    for index, output in enumerate(choice.outputs):
        output.name = f"{name}.{index}"
    nodes = [*before.nodes, choice]
    maker = mask.producer()
    if maker is None:
        graph.insert_before(graph[0], nodes)
    else:
        graph.insert_after(maker, nodes)
    a, b, c, d = choice.outputs
    return _Blocks(many, (a, b), (c, d))


def _choose(graph: ir.Graph, name: str, attention: _Attention, blocks: _Blocks) -> None:
    owner = attention.nodes[0].graph
    assert isinstance(owner, ir.Graph)
    result = attention.result
    op = Tape(graph, f"{name}.blocked")
    joined = _loop(op, attention, blocks)
    joined.type, joined.shape = result.type, result.shape
    branch = ir.Graph([], [joined], nodes=op.nodes, name=op.name)

    attributes = [ir.AttrGraph("then_branch", branch)]
    choice = ir.Node("", "If", [blocks.many], attributes, num_outputs=1, name=f"{name}.form")
    chosen = choice.outputs[0]
    chosen.type, chosen.shape = result.type, result.shape
    owner.insert_after(attention.nodes[-1], choice)
    ir.convenience.replace_all_uses_with(result, chosen, replace_graph_outputs=True)
    chosen.name, result.name = result.name, f"{result.name}.plain"
    owner.remove(attention.nodes)
    plain = ir.Graph([], [result], nodes=attention.nodes, name=f"{name}.plain")
    choice.attributes.add(ir.AttrGraph("else_branch", plain))


def _loop(op: Tape, attention: _Attention, blocks: _Blocks) -> ir.Value:
    """The blocks' results one after another: a sequence, since the last block may be shorter."""
    element = attention.result.type
    assert isinstance(element, ir.TensorType)
    sequence = ir.SequenceType(element)
    empty = op("SequenceEmpty", dtype=element.dtype.value)
    count = op("Squeeze", op("Shape", blocks.queries[0], start=0, end=1))
    body = _body(op, attention, blocks, sequence)
    loop = ir.Node(
        "", "Loop", [count, None, empty], [ir.AttrGraph("body", body)], num_outputs=1, name=f"{op.name}.loop"
    )
    loop.outputs[0].name, loop.outputs[0].type = f"{op.name}.all", sequence
    op.nodes.append(loop)
    joined: ir.Value = op("ConcatFromSequence", loop.outputs[0], axis=_QUERIES)
    return joined


def _body(op: Tape, attention: _Attention, blocks: _Blocks, sequence: ir.SequenceType) -> ir.Graph:
    inner = Tape(op.graph, f"{op.name}.body")
    index = ir.Value(name=f"{inner.name}.index", shape=ir.Shape([]), type=ir.TensorType(ir.DataType.INT64))
    going = ir.Value(name=f"{inner.name}.going", shape=ir.Shape([]), type=ir.TensorType(ir.DataType.BOOL))
    before = ir.Value(name=f"{inner.name}.before", type=sequence)
    ends = {
        side: tuple(inner("Gather", value, index, axis=0) for value in pair)
        for side, pair in (("queries", blocks.queries), ("keys", blocks.keys))
    }
    corners = [inner("Concat", *both, axis=0) for both in zip(ends["queries"], ends["keys"], strict=True)]
    values = dict[ir.Value, ir.Value]()
    for value, axes in attention.axes.items():
        queries, keys = axes
        if queries is not None and keys is not None:
            values[value] = inner("Slice", value, *corners, inner.integers(queries, keys))
        elif queries is not None:
            values[value] = inner("Slice", value, *ends["queries"], inner.integers(queries))
        elif keys is not None:
            values[value] = inner("Slice", value, *ends["keys"], inner.integers(keys))
    for node in attention.nodes:
        inner.nodes.append(_copy(node, values, inner.name))
    after = inner("SequenceInsert", before, values[attention.result])
    after.type = sequence
    still = inner("Identity", going)
    still.type, still.shape = going.type, going.shape
    return ir.Graph([index, going, before], [still, after], nodes=inner.nodes, name=inner.name)


def _copy(node: ir.Node, values: dict[ir.Value, ir.Value], name: str) -> ir.Node:
    """A node again that reads other values; its outputs join them."""
    inputs = [value if value is None else values.get(value, value) for value in node.inputs]
    made = ir.Node(
        node.domain, node.op_type, inputs, list(node.attributes.values()), num_outputs=len(node.outputs),
        name=f"{name}.{node.name}", metadata_props=dict(node.metadata_props),
    )  # fmt: skip
    for old, new in zip(node.outputs, made.outputs, strict=True):
        new.name, new.type = f"{name}.{old.name}", old.type
        values[old] = new
    return made
