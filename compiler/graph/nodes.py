"""What passes build new nodes with."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


class Tape:
    """New nodes in order, with names under a common one; their constants are the graph's initializers."""

    def __init__(self, graph: ir.Graph, name: str) -> None:
        self.graph, self.name = graph, name
        self.nodes: list[ir.Node] = []

    def __call__(
        self, op_type: str, *inputs: ir.Value | None, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> Any:
        """Adds a node; gives its output, or a tuple of its outputs where there are several."""
        name = f"{self.name}.{len(self.nodes)}.{op_type}"
        given = [ir.convenience.convert_attribute(key, value) for key, value in attributes.items()]
        node = ir.Node(domain, op_type, inputs, given, num_outputs=outputs, name=name)
        for index, output in enumerate(node.outputs):
            output.name = name if outputs == 1 else f"{name}.{index}"
        self.nodes.append(node)
        return node.outputs[0] if outputs == 1 else node.outputs

    def constant(self, array: NDArray[Any]) -> ir.Value:
        """An initializer with a few numbers; equal ones are shared."""
        name = f"passes.{array.dtype}.{'x'.join(map(str, array.shape))}.{'_'.join(str(i) for i in array.reshape(-1))}"
        if name not in self.graph.initializers:
            tensor = ir.tensor(array, name=name)
            value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
            self.graph.register_initializer(value)
        return self.graph.initializers[name]

    def integers(self, *numbers: int) -> ir.Value:
        """An int64 vector."""
        return self.constant(np.array(numbers, dtype=np.int64))

    def scalar(self, number: int) -> ir.Value:
        """An int64 number without axes."""
        return self.constant(np.array(number, dtype=np.int64))


def fixed_size(value: ir.Value, axis: int) -> int:
    """How long an axis is that no call decides."""
    assert value.shape is not None
    size = value.shape[axis]
    assert isinstance(size, int), f"{value.name}: axis {axis} has no fixed size"
    return size


def only_reader(value: ir.Value) -> ir.Node | None:
    """What reads a value, if that is one node and nothing else does."""
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def take_over(old: ir.Value, new: ir.Value) -> None:
    """Puts a value in place of another: its readers, its type and shape, and its name."""
    new.shape, new.type = old.shape, old.type
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    new.name, old.name = old.name, None
