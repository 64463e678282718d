"""Attention as MatMul → Softmax → MatMul, with the query heads of one key/value head as rows of one product.

On ONNX Runtime's CPU provider this form reads each key and value once, without repeating them for the query heads,
and is faster than its fused kernels at nearly every length.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.nodes import fixed_size, take_over
from archc.compiler.ops.operators import ATTENTION_METADATA

MICROSOFT = "com.microsoft"


def group_attention(model: ir.Model) -> int:
    """Replaces every Attention node, those in branches too; returns how many there were."""
    nodes = [node for node in model.graph.all_nodes() if node.op_type == "Attention" and not node.domain]
    for node in nodes:
        _replace(model.graph, node)
    if nodes:
        model.graph.opset_imports[MICROSOFT] = 1
    return len(nodes)


def _replace(graph: ir.Graph, node: ir.Node) -> None:
    """`graph` is the whole one, which holds the constants."""
    query, keys, values, mask = node.inputs[:4]
    assert query is not None
    assert keys is not None
    assert values is not None
    assert mask is not None
    heads, kv_heads, width = fixed_size(query, 1), fixed_size(keys, 1), fixed_size(query, 3)
    tape = ir.tape.Tape()

    def op(op_type: str, *inputs: ir.Value, domain: str = "", **attributes: float) -> ir.Value:
        attributes_ = [ir.convenience.convert_attribute(name, value) for name, value in attributes.items()]
        return tape.op(op_type, inputs, {a.name: a for a in attributes_}, domain=domain)

    def reshape(value: ir.Value, *sizes: int) -> ir.Value:
        return op("Reshape", value, constant(np.array(sizes, dtype=np.int64)))

    def constant(array: np.ndarray) -> ir.Value:
        return _constant(graph, array)

    # A zero copies that axis, −1 is what remains: [B, H, S, D] → [B, K, H/K·S, D], and scores back to [B, H, S, T].
    grouped = heads != kv_heads
    if grouped:
        query = reshape(query, 0, kv_heads, -1, width)
    scale = node.attributes["scale"].as_float()
    scores = op("FusedMatMul", query, keys, domain=MICROSOFT, alpha=scale, transB=1)
    if grouped:
        scores = reshape(scores, 0, heads, -1, 0)
    weights = op("Softmax", op("Add", scores, additive_mask(op, constant, mask, keys)), axis=-1)
    if grouped:
        weights = reshape(weights, 0, kv_heads, -1, 0)
    result = op("MatMul", weights, values)
    if grouped:
        result = reshape(result, 0, heads, -1, fixed_size(values, 3))

    result.shape, result.type = node.outputs[0].shape, node.outputs[0].type
    for index, new in enumerate(tape.nodes):
        new.name = f"{node.name}.{index}.{new.op_type}"
        new.outputs[0].name = f"{new.name}.output"  # said here, for branches do not see each other's names
        new.metadata_props[ATTENTION_METADATA] = node.metadata_props[ATTENTION_METADATA]
    owner = node.graph
    assert isinstance(owner, ir.Graph)
    owner.insert_before(node, tape.nodes)
    take_over(node.outputs[0], result)
    owner.remove(node, safe=True)


def additive_mask(op, constant, mask: ir.Value, keys: ir.Value) -> ir.Value:  # type: ignore[no-untyped-def]
    """A mask to add to scores: a boolean one becomes zero where a key is seen and the lowest number where not."""
    if mask.dtype is not ir.DataType.BOOL:
        return mask
    assert keys.dtype is not None
    dtype = keys.dtype.numpy()
    added: ir.Value = op("Where", mask, constant(np.zeros((), dtype)), constant(np.array(np.finfo(dtype).min, dtype)))
    added.shape, added.type = mask.shape, keys.type
    return added


def _constant(graph: ir.Graph, array: np.ndarray) -> ir.Value:
    name = f"grouped.{array.dtype}.{'_'.join(str(item) for item in array.reshape(-1))}"
    if name not in graph.initializers:
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.register_initializer(value)
    return graph.initializers[name]
