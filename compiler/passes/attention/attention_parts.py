"""What belongs to an attention that is spelled out: the nodes around a softmax, from queries to sums of values."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

_PRODUCTS = ("MatMul", "FusedMatMul", "MatMulInteger")
_BETWEEN = frozenset(
    {"Add", "Cast", "CastLike", "Concat", "Expand", "Mul", "Reshape", "Shape", "Slice", "Tanh", "Where"}
)
_BY_SCORE = ("Add", "Mul", "Where")
QUERIES, KEYS = 2, 3  # the axes of scores


@dataclass
class Attention:
    """The nodes from queries to what is mixed for them, and which axes of what they read are queries and keys."""

    nodes: list[ir.Node]
    result: ir.Value
    axes: dict[ir.Value, tuple[int | None, int | None]] = field(default_factory=dict)


def find_attention(softmax: ir.Node) -> Attention | None:
    """What is around a softmax, or None where that is not scores of queries and keys, and sums of values by them."""
    before, after = _back_to_queries(softmax), _on_to_sums(softmax)
    if not before or not after:
        return None
    inside = [*before, softmax, *after]
    attention = Attention([], after[-1].outputs[0])
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


def _note_keys(product: ir.Node, attention: Attention) -> list[ir.Node]:
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


def _add_operands(node: ir.Node, made: set[ir.Value], attention: Attention) -> bool:
    """Notes the axes of what is added to scores or hides them; False where its shape does not say them."""
    for value in node.inputs:
        if value is None or value in made or ir.convenience.get_const_tensor(value) is not None:
            continue
        if value.shape is None or len(value.shape) != 4:
            return False
        axes = [None if value.shape[axis] == 1 else axis for axis in (QUERIES, KEYS)]
        attention.axes[value] = (axes[0], axes[1])
    return True


def seen_keys(value: ir.Value) -> ir.Value | None:
    """The boolean mask, true where a key is seen, that a mask is or was made of."""
    maker = value.producer()
    if maker is not None and maker.op_type == "Where":
        value = maker.inputs[0] or value
    if value.dtype is not ir.DataType.BOOL or value.shape is None or len(value.shape) != 4:
        return None
    return None if 1 in (value.shape[QUERIES], value.shape[KEYS]) else value
