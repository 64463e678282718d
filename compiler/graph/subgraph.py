"""Copies of nodes, with the graphs inside of them: the body of a Scan."""

from __future__ import annotations

import onnx_ir as ir


def copy_attribute(attribute: ir.Attr, prefix: str) -> ir.Attr:
    """Return an attribute; a subgraph, which belongs to one node, is copied with the prefix on its names.

    The optimizer of traced parts moves constants of a Scan's body to the outer graph: the copy has them inside again.
    """
    if attribute.type is not ir.AttributeType.GRAPH:
        return attribute
    body = attribute.as_graph().clone(allow_outer_scope_values=True)
    own = {*body.inputs, *(output for node in body for output in node.outputs)}
    constants: dict[ir.Value, ir.Value] = {}
    for node in list(body):
        for index, value in enumerate(node.inputs):
            if value is None or value in own:
                continue
            assert value.const_value is not None, f"{value.name} is captured by a body and is no constant"
            if value not in constants:
                tensor = ir.AttrTensor("value", value.const_value)
                constant = ir.Node("", "Constant", [], [tensor], name=f"constant.{len(constants)}")
                constant.outputs[0].name = constant.name
                body.insert_before(next(iter(body)), constant)
                constants[value] = constant.outputs[0]
            node.replace_input_with(index, constants[value])
    for node in body:
        node.name = f"{prefix}{node.name}"
    for value in (*body.inputs, *(output for node in body for output in node.outputs)):
        value.name = f"{prefix}{value.name}"
    return ir.AttrGraph(attribute.name, body)


def copy_node(node: ir.Node, mapping: dict[ir.Value, ir.Value], prefix: str) -> ir.Node:
    """Return a copy of a node with mapped inputs and the prefix on its names; its outputs are added to `mapping`."""
    copy = ir.Node(
        node.domain,
        node.op_type,
        [None if value is None else mapping[value] for value in node.inputs],
        [copy_attribute(attribute, f"{prefix}{node.name}.") for attribute in node.attributes.values()],
        overload=node.overload,
        num_outputs=len(node.outputs),
        version=node.version,
        name=f"{prefix}{node.name}",
        metadata_props={key: text for key, text in node.metadata_props.items() if key.startswith("archc.")},
    )
    for old, new in zip(node.outputs, copy.outputs, strict=True):
        new.name = f"{prefix}{old.name}"
        new.type = old.type
        new.shape = None if old.shape is None else ir.Shape(list(old.shape))
        mapping[old] = new
    return copy
