"""The selective state-space scan (Gu & Dao 2023, Mamba, section 3.2)."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from torch.library import custom_op

from archc.compiler.graph.builder import BodyBuilder, op
from archc.compiler.ops.recurrences.chunks import scan
from archc.compiler.ops.registry import translates


@custom_op("archc::selective_scan", mutates_args=())
def selective_scan(
    x_BSI: Tensor, step_BSI: Tensor, b_BSN: Tensor, c_BSN: Tensor, a_NI: Tensor, state_BNI: Tensor
) -> tuple[Tensor, Tensor]:
    """h[t] = exp(step ⊙ A) ⊙ h[t−1] + bᵀ (step ⊙ x), y[t] = c · h[t] → [B, S, I], and the last h; A is negative."""
    state, rows = state_BNI, []
    for t in range(x_BSI.shape[1]):
        step = step_BSI[:, t, None]
        state = (step * a_NI).exp() * state + b_BSN[:, t, :, None] * (step * x_BSI[:, t, None])
        rows.append((c_BSN[:, t, None] @ state)[:, 0])
    return torch.stack(rows, dim=1), state


@selective_scan.register_fake
def _(
    x_BSI: Tensor, step_BSI: Tensor, b_BSN: Tensor, c_BSN: Tensor, a_NI: Tensor, state_BNI: Tensor
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x_BSI), torch.empty_like(state_BNI)


@translates(torch.ops.archc.selective_scan.default)
def _selective_scan(x: Any, step: Any, b: Any, c: Any, a: Any, state: Any) -> Any:
    """Build a Scan token by token: pairs of positions would need a number for each channel and element of its state."""

    def sequence(value: Any, axis: int) -> Any:
        return op.Unsqueeze(op.Transpose(value, perm=[1, 0, 2]), op.ints(axis))

    scanned = [sequence(step, 2), sequence(op.Mul(step, x), 2), sequence(b, 3), sequence(c, 2)]
    # A is a state that does not change, because a body captures nothing.
    last, _, y = scan(_body(state.dtype), [state, a], scanned, [4])
    return op.Transpose(op.Squeeze(y, op.ints(2)), perm=[1, 0, 2]), last


def _body(dtype: ir.DataType) -> BodyBuilder:
    body = BodyBuilder("selective_scan", dtype)
    op = body
    state, a = body.input("state", 3), body.input("a", 2)
    step, x, b, c = (body.input(name, 3) for name in ("step", "x", "b", "c"))
    new = op.Add(op.Mul(op.Exp(op.Mul(step, a)), state), op.Mul(b, x))
    body.output(new, 3)
    body.output(op.Identity(a), 2)
    body.output(op.MatMul(c, new), 3)
    return body
