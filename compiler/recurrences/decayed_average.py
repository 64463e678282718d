"""The average of all values so far, weighted by their keys and by a decay (Peng et al. 2023, RWKV, eq. 16)."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from torch.library import custom_op

from compiler.bodies import Body
from compiler.recurrences.chunks import Pairs, cut, scan, uncut
from compiler.recurrences.table import TRANSLATIONS

# The exponent of what is not there; its power of e is zero beside any other.
NOTHING = -1e38


@custom_op("archc::decayed_average", mutates_args=())
def decayed_average(
    key_BSC: Tensor, newest_key_BSC: Tensor, log_decay_BSC: Tensor, v_BSC: Tensor, state_B3C: Tensor
) -> tuple[Tensor, Tensor]:
    """y[t] = Σ p v / Σ p over the positions so far → [B, S, C], and the state after them.

    p is exp(newest key) for t itself and exp(key + the log decays after it, before t) for the earlier ones. The state
    is Σ p v and Σ p, both over e^top, and top; it is empty where Σ p is zero.
    """
    numerator, denominator, top = state_B3C.unbind(1)
    top = torch.where(denominator > 0, top, NOTHING)
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


def _decayed_average(key: Any, newest_key: Any, log_decay: Any, v: Any, state: Any) -> Any:
    chunks = cut([key, newest_key, log_decay, v], 1, filling=(NOTHING, 0.0, 0.0, 0.0))
    body = _body(int(v.shape[-1]), state.dtype)
    last, y = scan(body, [state], [chunks.joined_nBHcM], [5])
    return uncut(y, chunks, int(v.shape[-1])), last


def _body(width: int, dtype: ir.DataType) -> Body:
    """One chunk, its channels as one head: exponents of every pair and of the state, their maximum taken off."""
    body = Body("decayed_average", dtype)
    op = body.op
    state, joined = body.input("state", 3), body.input("chunk", 4)
    nothing = body.number(NOTHING)
    numerator, denominator, top = (op("Unsqueeze", part, body.ints(1)) for part in body.split(state, [1, 1, 1], 1))
    top = op("Where", op("Greater", denominator, body.number(0.0)), top, nothing)
    k, newest, w, v = body.split(joined, [width] * 4)
    pairs = Pairs(body, w, width)

    earlier = op("Unsqueeze", pairs.earlier_cc, body.ints(2))
    later = op("Unsqueeze", op("Transpose", pairs.earlier_cc, perm=[1, 0]), body.ints(2))
    half = body.number(0.5)
    others = op("Add", pairs.between(), op("Unsqueeze", k, body.ints(2)))
    itself_or_none = op("Where", op("Greater", later, half), nothing, op("Unsqueeze", newest, body.ints(3)))
    exponents = op("Where", op("Greater", earlier, half), others, itself_or_none)
    carried = op("Add", top, pairs.before())
    most = op("Max", op("ReduceMax", exponents, body.ints(3), keepdims=0), carried)
    weights = op("Exp", op("Sub", exponents, op("Unsqueeze", most, body.ints(3))))
    old = op("Exp", op("Sub", carried, most))
    values = op("ReduceSum", op("Mul", weights, op("Unsqueeze", v, body.ints(2))), body.ints(3), keepdims=0)
    total = op("ReduceSum", weights, body.ints(3), keepdims=0)
    y = op("Div", op("Add", op("Mul", old, numerator), values), op("Add", op("Mul", old, denominator), total))

    exponents, carried = op("Add", pairs.after(), k), op("Add", top, pairs.total())
    most = op("Max", op("ReduceMax", exponents, body.ints(2), keepdims=1), carried)
    weights, old = op("Exp", op("Sub", exponents, most)), op("Exp", op("Sub", carried, most))
    values = op("ReduceSum", op("Mul", weights, v), body.ints(2), keepdims=1)
    numerator = op("Add", op("Mul", old, numerator), values)
    denominator = op("Add", op("Mul", old, denominator), op("ReduceSum", weights, body.ints(2), keepdims=1))
    body.output(op("Squeeze", op("Concat", numerator, denominator, most, axis=2), body.ints(1)), 3)
    body.output(y, 4)
    return body


TRANSLATIONS[torch.ops.archc.decayed_average.default] = _decayed_average
