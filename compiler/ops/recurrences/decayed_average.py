"""The average of all values so far, weighted by their keys and by a decay (Peng et al. 2023, RWKV, eq. 16)."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor
from torch.library import custom_op

from archc.compiler.graph.builder import BodyBuilder, op
from archc.compiler.ops.recurrences.chunks import scan
from archc.compiler.ops.registry import translates

# The logarithm that stands for a weight of zero.
LOG_ZERO = -1e38


@custom_op("archc::decayed_average", mutates_args=())
def decayed_average(
    key_BSC: Tensor, newest_key_BSC: Tensor, log_decay_BSC: Tensor, v_BSC: Tensor, state_B3C: Tensor
) -> tuple[Tensor, Tensor]:
    """Return y[t] = Σ p v / Σ p over the positions so far, [B, S, C], and the state after them.

    p is exp(newest key) for t itself and exp(key + the log decays after it, before t) for the earlier ones. The state
    is Σ p v and Σ p, both divided by e^top, and top; it is empty if Σ p is zero.
    """
    numerator, denominator, top = state_B3C.unbind(1)
    top = torch.where(denominator > 0, top, LOG_ZERO)
    rows = []
    for t in range(v_BSC.shape[1]):
        k, newest, w, v = key_BSC[:, t], newest_key_BSC[:, t], log_decay_BSC[:, t], v_BSC[:, t]
        most = torch.maximum(top, newest)
        old, new = (top - most).exp(), (newest - most).exp()
        rows.append((old * numerator + new * v) / (old * denominator + new))
        most = torch.maximum(top + w, k)
        old, new = (top + w - most).exp(), (k - most).exp()
        numerator, denominator, top = old * numerator + new * v, old * denominator + new, most
    return torch.stack(rows, dim=1), torch.stack((numerator, denominator, top), dim=1)


@decayed_average.register_fake
def _(
    key_BSC: Tensor, newest_key_BSC: Tensor, log_decay_BSC: Tensor, v_BSC: Tensor, state_B3C: Tensor
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(v_BSC), torch.empty_like(state_B3C)


@translates(torch.ops.archc.decayed_average.default)
def _decayed_average(key: Any, newest_key: Any, log_decay: Any, v: Any, state: Any) -> Any:
    """Build a Scan token by token: the state is as small as a token, and pairs of tokens would cost more work."""

    def part(index: int) -> Any:
        return op.Gather(state, op.constant(np.array(index)), axis=1)

    dtype = state.dtype
    zero, nothing = (op.scalar(x, dtype) for x in (0.0, LOG_ZERO))
    states = [part(0), part(1), op.Where(op.Greater(part(1), zero), part(2), nothing)]
    for value in states:
        value.shape, value.type = ir.Shape([None, None]), ir.TensorType(dtype)
    scanned = [op.Transpose(x, perm=[1, 0, 2]) for x in (key, newest_key, log_decay, v)]
    *last, y = scan(_body(dtype), states, scanned, [3])
    axis = op.ints(1)
    return op.Transpose(y, perm=[1, 0, 2]), op.Concat(*(op.Unsqueeze(x, axis) for x in last), axis=1)


def _body(dtype: ir.DataType) -> BodyBuilder:
    body = BodyBuilder("decayed_average", dtype)
    op = body
    numerator, denominator, top = (body.input(name, 2) for name in ("numerator", "denominator", "top"))
    key, newest, w, v = (body.input(name, 2) for name in ("key", "newest_key", "log_decay", "v"))

    def blended(old: ir.Value, new: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Return Σ p v, Σ p and top with one more value; `old` and `new` are exponents of the sums and the value."""
        most = op.Max(old, new)
        scaled, added = op.Exp(op.Sub(old, most)), op.Exp(op.Sub(new, most))
        values = op.Add(op.Mul(scaled, numerator), op.Mul(added, v))
        return values, op.Add(op.Mul(scaled, denominator), added), most

    values, total, _ = blended(top, newest)
    for value in blended(op.Add(top, w), key):
        body.output(value, 2)
    body.output(op.Div(values, total), 2)
    return body
