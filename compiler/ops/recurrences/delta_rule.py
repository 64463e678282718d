"""The delta rule with a decay by key channel (Yang et al. 2024; Peng et al. 2025, RWKV-7, section 4.1)."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from torch.library import custom_op

from archc.compiler.graph.builder import BodyBuilder
from archc.compiler.ops.recurrences.chunks import CHUNK, Pairs, cut, scan, uncut
from archc.compiler.ops.registry import translates


@custom_op("archc::delta_rule", mutates_args=())
def delta_rule(
    r_BSM: Tensor, k_BSM: Tensor, log_decay_BSM: Tensor, a_BSM: Tensor, b_BSM: Tensor, v_BSM: Tensor, state_BHDE: Tensor
) -> tuple[Tensor, Tensor]:
    """S[t] = exp(log decay) ⊙ S[t−1] + bᵀ (a · S[t−1]) + kᵀ v, y[t] = r · S[t], by head → [B, S, M], and the last S."""
    heads, state, rows = state_BHDE.shape[1], state_BHDE, []
    r, k, w, a, b, v = (x.unflatten(-1, (heads, -1)) for x in (r_BSM, k_BSM, log_decay_BSM, a_BSM, b_BSM, v_BSM))
    for t in range(r.shape[1]):
        found = torch.einsum("bhd,bhde->bhe", a[:, t], state)
        state = w[:, t].exp()[..., None] * state + b[:, t][..., None] * found[..., None, :]
        state = state + k[:, t][..., None] * v[:, t][..., None, :]
        rows.append(torch.einsum("bhd,bhde->bhe", r[:, t], state))
    return torch.stack(rows, dim=1).flatten(2), state


@delta_rule.register_fake
def _(
    r_BSM: Tensor, k_BSM: Tensor, log_decay_BSM: Tensor, a_BSM: Tensor, b_BSM: Tensor, v_BSM: Tensor, state_BHDE: Tensor
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(v_BSM), torch.empty_like(state_BHDE)


@translates(torch.ops.archc.delta_rule.default)
def _delta_rule(r: Any, k: Any, log_decay: Any, a: Any, b: Any, v: Any, state: Any) -> Any:
    heads, width = int(state.shape[1]), int(state.shape[2])
    chunks = cut([r, k, log_decay, a, b, v], heads)
    body = _body(width, int(state.shape[3]), state.dtype)
    last, y = scan(body, [state], [chunks.joined_nBHcM], [5])
    return uncut(y, chunks, int(v.shape[-1])), last


def _body(width: int, values: int, dtype: ir.DataType) -> BodyBuilder:
    """Build one chunk.

    The products u[t] = a[t] · S[t−1] depend on earlier ones: (1 − L) u = z with L strictly lower triangular, and so
    u = (1 + L)(1 + L²)(1 + L⁴) z for eight positions.
    """
    body = BodyBuilder("delta_rule", dtype)
    op = body
    state, joined = body.input("state", 4), body.input("chunk", 4)
    r, k, w, a, b, v = body.split(joined, [*[width] * 5, values])
    pairs = Pairs(body, w, width)

    def scores(x: ir.Value, decay: ir.Value, y: ir.Value) -> ir.Value:
        """x[t] · (decay[t, s] ⊙ y[s]) for every pair: [B, H, c, c]."""
        reached = op.Mul(decay, op.Unsqueeze(y, body.ints(2)))
        return op.Squeeze(op.MatMul(reached, op.Unsqueeze(x, body.ints(4))), body.ints(4))

    until, through = op.Exp(pairs.between()), op.Exp(pairs.between(including_last=True))
    earlier = pairs.earlier_cc
    later = op.Transpose(earlier, perm=[1, 0])
    so_far = op.Sub(body.number(1.0), later)
    before = pairs.before()
    hangs = op.Mul(scores(a, until, b), earlier)
    found = op.MatMul(op.Mul(scores(a, until, k), earlier), v)
    found = op.Add(found, op.MatMul(op.Mul(a, op.Exp(before)), state))
    power, span = hangs, 1
    while True:
        found = op.Add(found, op.MatMul(power, found))
        span *= 2
        if span >= CHUNK:
            break
        power = op.MatMul(power, power)
    y = op.MatMul(op.Mul(scores(r, through, b), so_far), found)
    y = op.Add(y, op.MatMul(op.Mul(scores(r, through, k), so_far), v))
    y = op.Add(y, op.MatMul(op.Mul(r, op.Exp(op.Add(before, w))), state))
    left = op.Exp(pairs.after())
    decayed = op.Mul(op.Transpose(op.Exp(pairs.total()), perm=[0, 1, 3, 2]), state)
    for keys, values_ in ((b, found), (k, v)):
        rows = op.Transpose(op.Mul(keys, left), perm=[0, 1, 3, 2])
        decayed = op.Add(decayed, op.MatMul(rows, values_))
    body.output(decayed, 4)
    body.output(y, 4)
    return body
