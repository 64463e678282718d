"""Operators of opset 23 and later in the operators of opset 20, which runtimes have had for longer."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import cast, dtype_of, fixed_size, required

OPSET, IR_VERSION = 20, 9


def rms_norm(node: ir.Node, op: GraphBuilder) -> ir.Value | None:
    """Lower RMSNormalization over the last axis: x / sqrt(mean(x²) + ε) · scale, in float32 up to the product."""
    x, scale = map(required, node.inputs)
    wide = cast(op, x, ir.DataType.FLOAT)
    mean = op.ReduceMean(op.Mul(wide, wide), op.ints(-1), keepdims=1)
    epsilon = op.scalar(node.attributes["epsilon"].as_float(), ir.DataType.FLOAT)
    normed = op.Div(wide, op.Sqrt(op.Add(mean, epsilon)))
    normed.type = ir.TensorType(ir.DataType.FLOAT)
    scaled: ir.Value = op.Mul(cast(op, normed, dtype_of(x)), scale)
    return scaled


def rotary(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Lower RotaryEmbedding of x [B, H, S, D] by cos and sin [B, S, R]; dims past 2R pass through."""
    x, cos, sin = map(required, node.inputs)
    half, width = fixed_size(cos, 2), fixed_size(x, 3)
    cos, sin = (op.Unsqueeze(value, op.ints(1)) for value in (cos, sin))
    rest = None
    if width > 2 * half:
        x, rest = op.Split(x, op.ints(2 * half, width - 2 * half), axis=3, outputs=2)
    interleaved = bool(node.attributes["interleaved"].as_int())
    if interleaved:
        pairs = op.Reshape(x, op.ints(0, 0, 0, half, 2))
        first, second = (op.Squeeze(part, op.ints(4)) for part in op.Split(pairs, op.ints(1, 1), axis=4, outputs=2))
    else:
        first, second = op.Split(x, op.ints(half, half), axis=3, outputs=2)
    turned = (
        op.Sub(op.Mul(first, cos), op.Mul(second, sin)),
        op.Add(op.Mul(second, cos), op.Mul(first, sin)),
    )
    if interleaved:
        both = op.Concat(*(op.Unsqueeze(part, op.ints(4)) for part in turned), axis=4)
        rotated = op.Reshape(both, op.ints(0, 0, 0, 2 * half))
    else:
        rotated = op.Concat(*turned, axis=3)
    result: ir.Value = rotated if rest is None else op.Concat(rotated, rest, axis=3)
    return result


class OlderOpset(ir.passes.InPlacePass):
    """Declares the older opset, once no node needs a newer one."""

    NEWER = frozenset({"Attention", "RMSNormalization", "RotaryEmbedding", "Swish", "TensorScatter"})

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Set the versions of a model."""
        found = sorted({node.op_type for node in model.graph.all_nodes()} & self.NEWER)
        assert not found, f"operators of newer opsets: {found}"
        model.graph.opset_imports[""], model.ir_version = OPSET, IR_VERSION
        return ir.passes.PassResult(model, modified=True)
