"""Products with int8 or int4 weights, in the forms that ONNX Runtime's providers have kernels for.

CPU: int8 is MatMulIntegerToFloat, a scale per output and a scale per row of the activations; int4 is MatMulNBits, a
scale for each 128 columns of a row. CUDA, and graphs for several runtimes: both are MatMulNBits. A token table
and the head that shares it are stored once, in blocks, and read by GatherBlockQuantized (or standard operators) and
MatMulNBits. Norms, biases, convolutions, routers and scanned experts stay in float.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC, MICROSOFT
from archc.compiler.graph.values import required, shape_of
from archc.compiler.lowerings.driver import Lowering, Results
from archc.compiler.lowerings.linear.portable import bias_of, is_lookup, with_bias
from archc.compiler.lowerings.linear.quantized_rows import integer_product, may_be_empty, quantize_rows
from archc.compiler.weights.formats.blocks import BlockFormat, block_size
from archc.compiler.weights.formats.channels import ChannelFormat
from archc.compiler.weights.formats.format import Bits
from archc.compiler.weights.formats.stored_blocks import FindGroups, StoredBlocks
from archc.compiler.weights.lazy import WeightTensor


@dataclass(frozen=True)
class Kernels:
    """The kernels of a provider."""

    #: True if int8 weights with one scale per output channel have a kernel.
    channels: bool
    #: True if the kernels of products add a bias.
    bias: bool
    #: `accuracy_level` of MatMulNBits.
    accuracy_level: int
    #: Dtypes of activations.
    dtypes: frozenset[ir.DataType]
    #: True if the scales of int4 blocks have two levels.
    two_level: bool
    #: True if rows of blocks have a kernel, GatherBlockQuantized.
    gathers: bool = True


@dataclass(frozen=True)
class BlockWeight:
    """A matrix [N, K] in blocks of its rows."""

    weight: WeightTensor
    format: BlockFormat

    def initializer(self, op: GraphBuilder, role: str) -> ir.Value:
        """Return the initializer of one tensor of the format."""
        return op.initializer(self.format.tensors(self.weight)[role])


# On the CPU activations are quantized to int8 inside the product: the fast kernels, at an error below the weights' own.
CPU = Kernels(True, True, 4, frozenset({ir.DataType.FLOAT}), True)
CUDA = Kernels(False, False, 0, frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}), False)
# OpenVINO has no GatherBlockQuantized, and reads MatMulNBits without a bias.
SHARED = Kernels(False, False, 4, frozenset({ir.DataType.FLOAT}), False, gathers=False)


class QuantizedWeights:
    """Lowers products and lookups whose weight can be quantized; `otherwise` lowers the other products."""

    def __init__(
        self, bits: Bits, kernels: Kernels, otherwise: Lowering, find_groups: FindGroups = lambda slot: None
    ) -> None:
        self.bits, self.kernels, self.otherwise, self.find_groups = bits, kernels, otherwise, find_groups
        self._tables: dict[ir.Graph, set[ir.Value]] = {}

    def linear(self, node: ir.Node, op: GraphBuilder) -> Results:
        """Lower `archc.Linear`."""
        value = required(node.inputs[1])
        weight = self.quantizable(op, value)
        if weight is None:
            return self.otherwise(node, op)
        if self.by_channel(op, value):
            return channel_product(node, op, weight)
        return self.block_product(node, op, self.blocks(op, value, weight))

    def lookup(self, node: ir.Node, op: GraphBuilder) -> ir.Value | None:
        """Lower a Gather of a table's rows by ids [...]: [..., K/block, block], then [..., K]."""
        if not is_lookup(node, 0):
            return None
        table, ids = map(required, node.inputs)
        weight = self.quantizable(op, table)
        if weight is None:
            return None
        blocks = self.blocks(op, table, weight)
        integers, scales = (blocks.initializer(op, role) for role in ("integers", "scales"))
        if self.kernels.gathers:
            sizes = {"gather_axis": 0, "quantize_axis": 2, "block_size": blocks.format.block, "bits": self.bits}
            scales = op.Unsqueeze(scales, op.ints(-1))
            rows = op.GatherBlockQuantized(integers, ids, scales, domain=MICROSOFT, **sizes)
            rows.type = ir.TensorType(weight.dtype)
        else:
            integers, scales = (op.Gather(part, ids, axis=0) for part in (integers, scales))
            rows = dequantized_rows(op, integers, scales, self.bits, weight.dtype)
        row: ir.Value = op.Reshape(rows, op.ints(*[0] * len(shape_of(ids)), weight.sizes[1]))
        return row

    def quantizable(self, op: GraphBuilder, value: ir.Value) -> WeightTensor | None:
        """Return a weight that is quantized: a matrix whose readers are products and lookups, and no router's."""
        weight = value.const_value
        if not isinstance(weight, WeightTensor) or weight.dtype not in self.kernels.dtypes or len(weight.shape) != 2:
            return None
        if is_router(weight) or not all(_is_quantizable_read(*use) for use in value.uses()):
            return None
        return weight if self.by_channel(op, value) or block_size(weight.sizes[1]) is not None else None

    def by_channel(self, op: GraphBuilder, value: ir.Value) -> bool:
        """Return whether a weight has one scale per output: int8, and no table."""
        return self.bits == 8 and self.kernels.channels and not self.is_table(op, value)

    def is_table(self, op: GraphBuilder, value: ir.Value) -> bool:
        """Return whether rows of a weight are looked up in the graph, before the first of its readers is lowered."""
        if op.graph not in self._tables:
            lookups = (node for node in op.graph if is_lookup(node, 0))
            self._tables[op.graph] = {required(node.inputs[0]) for node in lookups}
        return value in self._tables[op.graph]

    def blocks(self, op: GraphBuilder, value: ir.Value, weight: WeightTensor) -> BlockWeight:
        """Return a weight in blocks of a row; a product's are those of the checkpoint, if it stores such blocks."""
        if self.bits == 4 and not self.is_table(op, value):
            stored = StoredBlocks.of(weight, self.find_groups)
            if stored is not None:
                return BlockWeight(weight, stored)
        block = block_size(weight.sizes[1])
        assert block is not None
        two_level = self.kernels.two_level and self.bits == 4 and not self.is_table(op, value)
        return BlockWeight(weight, BlockFormat(self.bits, block, two_level))

    def block_product(self, node: ir.Node, op: GraphBuilder, blocks: BlockWeight) -> ir.Value:
        """Build MatMulNBits."""
        rows, columns = blocks.weight.sizes
        bias = bias_of(node)
        inside = bias if self.kernels.bias else None
        product: ir.Value = op.MatMulNBits(
            node.inputs[0],
            blocks.initializer(op, "integers"),
            blocks.initializer(op, "scales"),
            blocks.initializer(op, "zeros") if "zeros" in blocks.format.parts(blocks.weight) else None,
            None,
            inside,
            K=columns,
            N=rows,
            bits=self.bits,
            block_size=blocks.format.block,
            accuracy_level=self.kernels.accuracy_level,
            domain=MICROSOFT,
        )
        # Standard shape inference does not cover contributed operators, so that a sum with a bias would have no type.
        product.type, product.shape = node.outputs[0].type, node.outputs[0].shape
        return product if self.kernels.bias else with_bias(op, product, bias)


def channel_product(node: ir.Node, op: GraphBuilder, weight: WeightTensor) -> ir.Value:
    """Build the product of rows in uint8 with a weight in int8."""
    x = required(node.inputs[0])
    tensors = ChannelFormat().tensors(weight)
    integers, scales = op.initializer(tensors["integers"]), op.initializer(tensors["scales"])
    return integer_product(op, quantize_rows(op, x, may_be_empty(x)), integers, scales, bias_of(node))


def dequantized_rows(
    op: GraphBuilder, integers: ir.Value, scales: ir.Value, bits: Bits, dtype: ir.DataType
) -> ir.Value:
    """Build [..., blocks, block] of packed integers uint8 [..., blocks, bytes] and scales [..., blocks]."""
    numbers = op.Cast(integers, to=dtype)
    if bits == 4:
        # OpenVINO 2026.4 rounds quotients and shifts of bytes that it joins with other operators; floats are exact.
        sixteen = op.scalar(16, dtype)
        high = op.Floor(op.Div(numbers, sixteen))
        low = op.Sub(numbers, op.Mul(high, sixteen))
        halves = op.Concat(*(op.Unsqueeze(half, op.ints(-1)) for half in (low, high)), axis=-1)
        numbers = op.Reshape(halves, op.Concat(op.Shape(scales), op.ints(-1), axis=0))
    signed = op.Sub(numbers, op.scalar(2 ** (bits - 1), dtype))
    rows: ir.Value = op.Mul(signed, op.Unsqueeze(scales, op.ints(-1)))
    return rows


def is_router(weight: WeightTensor) -> bool:
    """Return whether a weight is a router's, whose few numbers choose the weights of everything else."""
    return ".router." in weight.slot


def _is_quantizable_read(node: ir.Node, index: int) -> bool:
    return (node.domain == ARCHC and node.op_type == "Linear" and index == 1) or is_lookup(node, index)
