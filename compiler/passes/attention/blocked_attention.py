"""Attention of many queries a block of them at a time, over the keys that some query of the block sees.

A prompt's scores are queries × keys: written as a whole they leave the processor's caches, and under a causal mask half
of them are of keys that are hidden. A block's scores are small, and its keys end where the mask hides the rest from all
of its queries (Dao et al. 2022 cut keys into blocks as well; here a row's softmax stays whole). A Loop over blocks does
that, under an If on the number of queries: a token of decoding takes the plain form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.nodes import Tape, take_over
from archc.compiler.passes.attention.attention_parts import KEYS, QUERIES, Attention, find_attention, seen_keys

BLOCK = 64
"""Queries at a time."""
MANY = 128
"""From so many queries on, blocks win more than a Loop costs."""


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
        attention = find_attention(softmax)
        masks = [mask for value in attention.axes if (mask := seen_keys(value)) is not None] if attention else []
        if attention is None or not masks:
            continue
        if masks[0] not in blocks:
            blocks[masks[0]] = _cut(graph, masks[0])
        _choose(graph, softmax.name or "", attention, blocks[masks[0]])
        count += 1
    return count


def _cut(graph: ir.Graph, mask: ir.Value) -> _Blocks:
    """The blocks of a mask's queries, found once for all layers, and for prompts alone."""
    name = f"{mask.name}.blocks"
    before = Tape(graph, f"{name}.choice")
    many = before("GreaterOrEqual", before("Shape", mask, start=QUERIES, end=KEYS), before.integers(MANY))

    op = Tape(graph, name)
    queries, keys = op("Shape", mask, start=QUERIES, end=KEYS), op("Shape", mask, start=KEYS)
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
    nothing = [none("Constant", value=ir.tensor(np.zeros((1, 1), np.int64))) for _ in found]
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


def _choose(graph: ir.Graph, name: str, attention: Attention, blocks: _Blocks) -> None:
    owner = attention.nodes[0].graph
    assert isinstance(owner, ir.Graph)
    result = attention.result
    op = Tape(graph, f"{name}.blocked")
    joined = _loop(op, attention, blocks)
    joined.type, joined.shape = result.type, result.shape
    branch = ir.Graph([], [joined], nodes=op.nodes, name=op.name)

    attributes = [ir.AttrGraph("then_branch", branch)]
    choice = ir.Node("", "If", [blocks.many], attributes, num_outputs=1, name=f"{name}.form")
    owner.insert_after(attention.nodes[-1], choice)
    take_over(result, choice.outputs[0])
    result.name = f"{choice.outputs[0].name}.plain"
    owner.remove(attention.nodes)
    plain = ir.Graph([], [result], nodes=attention.nodes, name=f"{name}.plain")
    choice.attributes.add(ir.AttrGraph("else_branch", plain))


def _loop(op: Tape, attention: Attention, blocks: _Blocks) -> ir.Value:
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
    joined: ir.Value = op("ConcatFromSequence", loop.outputs[0], axis=QUERIES)
    return joined


def _body(op: Tape, attention: Attention, blocks: _Blocks, sequence: ir.SequenceType) -> ir.Graph:
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
