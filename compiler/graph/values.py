"""Reading and replacing values of a graph."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from archc.compiler.graph.builder import Builder


def required(value: ir.Value | None) -> ir.Value:
    """Return a value that a node must have as input."""
    assert value is not None
    return value


def shape_of(value: ir.Value) -> ir.Shape:
    """Return the shape of a value whose rank is known."""
    assert value.shape is not None, f"{value.name} has no shape"
    return value.shape


def dtype_of(value: ir.Value) -> ir.DataType:
    """Return the element type of a value."""
    assert value.dtype is not None, f"{value.name} has no element type"
    return value.dtype


def fixed_size(value: ir.Value, axis: int) -> int:
    """Return the size of an axis that no call changes."""
    size = shape_of(value)[axis]
    assert isinstance(size, int), f"{value.name}: axis {axis} has no fixed size"
    return size


def axis_name(value: ir.Value, axis: int) -> str:
    """Return the name of an axis, or its size as text; "" if it has neither."""
    if value.shape is None:
        return ""
    size = value.shape[axis]
    return str(size) if isinstance(size, int) else size.value or ""


def cast(op: Builder, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    """Return a value as another element type."""
    if value.dtype == dtype:
        return value
    converted: ir.Value = op.Cast(value, to=dtype)
    converted.type, converted.shape = ir.TensorType(dtype), value.shape
    return converted


def typed_like(value: ir.Value, other: ir.Value) -> ir.Value:
    """Return a value, which gets the type and shape of another one."""
    value.type, value.shape = other.type, other.shape
    return value


def only_reader(value: ir.Value) -> ir.Node | None:
    """Return the node that reads a value, if it is the only reader and the value is no graph output."""
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def replace_value(old: ir.Value, new: ir.Value) -> None:
    """Put `new` in the place of `old`: readers, graph outputs, type, shape, name and description."""
    new.shape, new.type = old.shape, old.type
    new.metadata_props.update(old.metadata_props)
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    new.name, old.name = old.name, None


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """Yield the branches or the body of a node."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()


def drop_unused_initializers(graph: ir.Graph) -> None:
    """Remove weights and constants that nothing reads."""
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
