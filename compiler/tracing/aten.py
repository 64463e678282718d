"""ONNX translations of torch's own operators, as far as components call them.

These are the operators that torch's dispatcher emits after it has decomposed composite ones. A translation has tensors
as values with a type and a shape, symbolic sizes as `Size` (a vector of one number, named by its formula), dtypes as
those of onnx_ir, and every other argument unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import pairwise
from math import log
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.tensor_adapters import from_torch_dtype, to_torch_dtype

from archc.compiler.graph.builder import op
from archc.compiler.graph.values import dtype_of

Translation = Callable[..., Any]
_aten = torch.ops.aten


def _unary(op_type: str) -> Translation:
    return lambda x: getattr(op, op_type)(x)


def _binary(op_type: str) -> Translation:
    def translate(x: Any, y: Any) -> Any:
        return getattr(op, op_type)(*_of_one_type(x, y))

    return translate


def _of_one_type(x: Any, y: Any) -> tuple[Any, Any]:
    """Return two tensors, or a tensor and a number, in the dtype that torch promotes them to."""
    dtype = from_torch_dtype(torch.result_type(_example(x), _example(y)))
    return _as(x, dtype), _as(y, dtype)


def _example(x: Any) -> Any:
    """Return an operand that type promotion treats alike: a number, or a tensor of the same dtype and rank."""
    if isinstance(x, ir.Value):
        return torch.empty([1] * len(x.shape or ()), dtype=to_torch_dtype(dtype_of(x)))
    return x if isinstance(x, (bool, int, float)) else 1


def _as(x: Any, dtype: ir.DataType) -> Any:
    if isinstance(x, (bool, int, float)):
        return op.scalar(x, dtype)
    cast = x if isinstance(x, ir.Value) else _scalar(x)
    if cast.dtype != dtype:
        shape, cast = cast.shape, op.Cast(cast, to=dtype)
        cast.type, cast.shape = ir.TensorType(dtype), shape
    return cast


def _scalar(x: Any) -> Any:
    """Return an integer or a size as an int64 scalar."""
    return op.scalar(x, ir.DataType.INT64) if isinstance(x, int) else op.Squeeze(x.value, op.ints(0))


def _sizes(parts: Sequence[Any]) -> ir.Value:
    """Return sizes as one int64 vector; adjacent integers are one constant."""
    pieces: list[Any] = []
    for part in parts:
        if not isinstance(part, int):
            pieces.append(part.value)
        elif pieces and isinstance(pieces[-1], list):
            pieces[-1].append(part)
        else:
            pieces.append([part])
    values = [op.ints(*piece) if isinstance(piece, list) else piece for piece in pieces]
    return values[0] if len(values) == 1 else op.Concat(*values, axis=0)


def _has(x: ir.Value, axis: int, size: Any) -> bool:
    """Return whether an axis of x is known to have this size."""
    assert x.shape is not None
    if axis >= len(x.shape):
        return False
    known = x.shape[axis]
    return bool(known == size) if isinstance(size, int) else str(known) == size.formula


def _view(x: Any, shape: Sequence[Any]) -> Any:
    # In Reshape a zero copies the axis of the input, which saves reading its size.
    target = [size if isinstance(size, int) or not _has(x, axis, size) else 0 for axis, size in enumerate(shape)]
    symbolic = [axis for axis, size in enumerate(target) if not isinstance(size, int)]
    if len(symbolic) == 1 and -1 not in target:
        target[symbolic[0]] = -1
    return op.Reshape(x, _sizes(target))


def _expand(x: Any, shape: Sequence[Any], implicit: bool = False) -> Any:
    lead = len(shape) - len(x.shape)
    target = [
        1 if axis >= lead and (size == -1 or _has(x, axis - lead, size)) else size for axis, size in enumerate(shape)
    ]
    return op.Identity(x) if all(size == 1 for size in target) and not lead else op.Expand(x, _sizes(target))


def _sum_of_two(op_type: str) -> Translation:
    def translate(x: Any, y: Any, alpha: float = 1) -> Any:
        x, y = _of_one_type(x, y)
        return getattr(op, op_type)(x, y if alpha == 1 else op.Mul(y, op.scalar(alpha, y.dtype)))

    return translate


def _divide(x: Any, y: Any) -> Any:
    x, y = _of_one_type(x, y)
    return op.Div(x, y) if x.dtype.is_floating_point() else op.Div(_as(x, ir.DataType.FLOAT), _as(y, ir.DataType.FLOAT))


def _divide_rounded(x: Any, y: Any, rounding_mode: str) -> Any:
    # Div of ONNX rounds quotients of integers towards zero.
    x, y = _of_one_type(x, y)
    if rounding_mode != "trunc" or x.dtype.is_floating_point():
        raise ValueError(f"expected integers and the rounding mode trunc, got {x.dtype} and {rounding_mode}")
    return op.Div(x, y)


def _cast(x: Any, dtype: ir.DataType | None = None) -> Any:
    return op.Identity(x) if dtype in (None, x.dtype) else op.Cast(x, to=dtype)


def _power(x: Any, exponent: Any) -> Any:
    return op.Mul(x, x) if exponent == 2 else _binary("Pow")(x, exponent)


def _clamp(x: Any, least: float | None = None, most: float | None = None) -> Any:
    bounds = [None if bound is None else op.scalar(bound, x.dtype) for bound in (least, most)]
    if None not in bounds:
        return op.Clip(x, *bounds)
    return op.Max(x, bounds[0]) if most is None else op.Min(x, bounds[1])


def _layer_norm(x: Any, shape: Sequence[int], weight: Any, bias: Any, eps: float) -> Any:
    if weight is None:
        weight = op.constant(np.ones(shape, x.dtype.numpy()))
    return op.LayerNormalization(x, weight, bias, axis=-len(shape), epsilon=eps, stash_type=1), None, None


def _softmax(x: Any, axis: int, to_float: bool) -> Any:
    return op.Softmax(op.Cast(x, to=ir.DataType.FLOAT) if to_float else x, axis=axis)


def _sum(x: Any, axes: Sequence[int], keepdim: bool = False, dtype: ir.DataType | None = None) -> Any:
    return op.ReduceSum(_cast(x, dtype) if dtype else x, op.ints(*axes), keepdims=int(keepdim))


def _largest(x: Any, axes: Sequence[int], keepdim: bool = False) -> Any:
    return op.ReduceMax(x, op.ints(*axes), keepdims=int(keepdim))


def _any(x: Any, axis: int, keepdim: bool = False) -> Any:
    ones = op.Cast(op.Cast(x, to=ir.DataType.BOOL), to=ir.DataType.INT64)
    return op.Cast(op.ReduceMax(ones, op.ints(axis), keepdims=int(keepdim)), to=ir.DataType.BOOL)


def _top(x: Any, count: int, axis: int = -1, largest: bool = True, ordered: bool = True) -> Any:
    return op.TopK(x, op.ints(count), axis=axis, largest=int(largest), sorted=int(ordered), outputs=2)


def _slice(x: Any, axis: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    if step == 1 and start in (None, 0) and (end is None or end == torch.iinfo(torch.int64).max or _has(x, axis, end)):
        return op.Identity(x)
    bounds = [_sizes([0 if start is None else start]), _sizes([torch.iinfo(torch.int64).max if end is None else end])]
    return op.Slice(x, *bounds, op.ints(axis), op.ints(step))


def _select(x: Any, axis: int, index: int) -> Any:
    return op.Gather(x, op.scalar(index, ir.DataType.INT64), axis=axis)


def _index(x: Any, indices: Sequence[Any]) -> Any:
    indexed = [axis for axis, index in enumerate(indices) if index is not None]
    if len(indexed) != 1:
        raise ValueError(f"expected one index tensor, got {len(indexed)}")
    (axis,) = indexed
    if indices[axis].dtype not in (ir.DataType.INT32, ir.DataType.INT64):
        # The number of selected rows would depend on the values of the mask.
        raise ValueError(f"expected an index of int32 or int64, got {indices[axis].dtype}")
    return op.Gather(x, indices[axis], axis=axis)


def _split(x: Any, size: int, axis: int = 0) -> Any:
    total = int(x.shape[axis])
    return _split_sizes(x, [end - start for start, end in pairwise([*range(0, total, size), total])], axis)


def _split_sizes(x: Any, sizes: Sequence[int], axis: int = 0) -> Any:
    parts = op.Split(x, op.ints(*sizes), axis=axis, outputs=len(sizes))
    return [parts] if len(sizes) == 1 else parts


def _permute(x: Any, order: Sequence[int]) -> Any:
    return op.Transpose(x, perm=[axis % len(order) for axis in order])


def _stack(tensors: Sequence[Any], axis: int = 0) -> Any:
    return op.Concat(*(op.Unsqueeze(x, op.ints(axis)) for x in tensors), axis=axis)


def _concat(tensors: Sequence[Any], axis: int = 0) -> Any:
    widest = from_torch_dtype(reduce(torch.promote_types, (to_torch_dtype(x.dtype) for x in tensors)))
    return op.Concat(*(_as(x, widest) for x in tensors), axis=axis)


def _arange(start: Any, end: Any, step: Any = 1, dtype: ir.DataType | None = None) -> Any:
    integers = op.Range(*(_scalar(bound) for bound in (start, end, step)))
    return integers if dtype in (None, ir.DataType.INT64) else op.Cast(integers, to=dtype)


def _zeros(shape: Any, dtype: ir.DataType) -> Any:
    return op.Expand(op.scalar(0, dtype), shape)


def _where(condition: Any, x: Any, y: Any) -> Any:
    return op.Where(condition, *_of_one_type(x, y))


ATEN: Mapping[Callable[..., Any], Translation] = {
    _aten.add.Tensor: _sum_of_two("Add"),
    _aten.alias.default: _unary("Identity"),
    _aten.amax.default: _largest,
    _aten.any.dim: _any,
    _aten.arange.default: lambda end, **kind: _arange(0, end, **kind),
    _aten.arange.start_step: _arange,
    _aten.bmm.default: _binary("MatMul"),
    _aten.cat.default: _concat,
    _aten.ceil.default: _unary("Ceil"),
    _aten.clamp.default: _clamp,
    _aten.cos.default: _unary("Cos"),
    _aten.detach.default: _unary("Identity"),
    _aten.div.Tensor: _divide,
    _aten.div.Tensor_mode: _divide_rounded,
    _aten.embedding.default: lambda table, ids, *_: op.Gather(table, ids, axis=0),
    _aten.eq.Scalar: _binary("Equal"),
    _aten.eq.Tensor: _binary("Equal"),
    _aten.exp.default: _unary("Exp"),
    _aten.expand.default: _expand,
    _aten.expm1.default: lambda x: op.Sub(op.Exp(x), op.scalar(1, x.dtype)),
    _aten.gather.default: lambda x, axis, index: op.GatherElements(x, index, axis=axis),
    _aten.ge.Scalar: _binary("GreaterOrEqual"),
    _aten.gelu.default: lambda x, approximate="none": op.Gelu(x, approximate=approximate),
    _aten.gt.Tensor: _binary("Greater"),
    _aten.index.Tensor: _index,
    _aten.log.default: _unary("Log"),
    _aten.log2.default: lambda x: op.Div(op.Log(x), op.scalar(log(2), x.dtype)),
    _aten.mul.Tensor: _binary("Mul"),
    _aten.native_layer_norm.default: _layer_norm,
    _aten.neg.default: _unary("Neg"),
    _aten.new_zeros.default: lambda x, shape, dtype=None: _zeros(_sizes(shape), dtype or x.dtype),
    _aten.ones_like.default: lambda x, dtype=None: op.Expand(op.scalar(1, dtype or x.dtype), op.Shape(x)),
    _aten.permute.default: _permute,
    _aten.pow.Scalar: _binary("Pow"),
    _aten.pow.Tensor_Scalar: _power,
    _aten.relu.default: _unary("Relu"),
    _aten.rsub.Scalar: lambda x, y: _binary("Sub")(y, x),
    _aten.select.int: _select,
    _aten.sigmoid.default: _unary("Sigmoid"),
    _aten.silu.default: lambda x: op.Swish(x),
    _aten.sin.default: _unary("Sin"),
    _aten.slice.Tensor: _slice,
    _aten._softmax.default: _softmax,
    _aten.softplus.default: _unary("Softplus"),
    _aten.split.Tensor: _split,
    _aten.split_with_sizes.default: _split_sizes,
    _aten.sqrt.default: _unary("Sqrt"),
    _aten.stack.default: _stack,
    _aten.sub.Tensor: _sum_of_two("Sub"),
    _aten.sum.dim_IntList: _sum,
    _aten.tanh.default: _unary("Tanh"),
    _aten._to_copy.default: _cast,
    _aten.topk.default: _top,
    _aten.unsqueeze.default: lambda x, axis: op.Unsqueeze(x, op.ints(axis)),
    _aten.view.default: _view,
    _aten.where.self: _where,
    _aten.zeros_like.default: lambda x, dtype=None: _zeros(op.Shape(x), dtype or x.dtype),
}
