"""Linear attention over a matrix that decays by key channel (Katharopoulos et al. 2020; Peng et al. 2024)."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from torch.library import custom_op

from archc.compiler.graph.builder import BodyBuilder
from archc.compiler.ops.recurrences.chunks import Pairs, cut, scan, uncut
from archc.compiler.ops.registry import translates


@custom_op("archc::linear_attention", mutates_args=())
def linear_attention(
    r_BSM: Tensor, k_BSM: Tensor, log_decay_BSM: Tensor, v_BSM: Tensor, state_BHDE: Tensor
) -> tuple[Tensor, Tensor]:
    """y[t] = r[t] · S[t−1], S[t] = exp(log decay[t]) ⊙ S[t−1] + k[t]ᵀ v[t], by head → [B, S, M], and the last S."""
    heads, state, rows = state_BHDE.shape[1], state_BHDE, []
    r, k, w, v = (x.unflatten(-1, (heads, -1)) for x in (r_BSM, k_BSM, log_decay_BSM, v_BSM))
    for t in range(r.shape[1]):
        rows.append(torch.einsum("bhd,bhde->bhe", r[:, t], state))
        state = w[:, t].exp()[..., None] * state + k[:, t][..., None] * v[:, t][..., None, :]
    return torch.stack(rows, dim=1).flatten(2), state


@linear_attention.register_fake
def _(r_BSM: Tensor, k_BSM: Tensor, log_decay_BSM: Tensor, v_BSM: Tensor, state_BHDE: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(v_BSM), torch.empty_like(state_BHDE)


@translates(torch.ops.archc.linear_attention.default)
def _linear_attention(r: Any, k: Any, log_decay: Any, v: Any, state: Any) -> Any:
    heads, width = int(state.shape[1]), int(state.shape[2])
    chunks = cut([r, k, log_decay, v], heads)
    body = _body(width, int(state.shape[3]), state.dtype)
    last, y = scan(body, [state], [chunks.joined_nBHcM], [5])
    return uncut(y, chunks, int(v.shape[-1])), last


def _body(width: int, values: int, dtype: ir.DataType) -> BodyBuilder:
    """Build one chunk: pairs inside it by their scores, everything before it through the state."""
    body = BodyBuilder("linear_attention", dtype)
    op = body
    state, joined = body.input("state", 4), body.input("chunk", 4)
    r, k, w, v = body.split(joined, [width, width, width, values])
    pairs = Pairs(body, w, width)
    reached = op.Mul(op.Exp(pairs.between()), op.Unsqueeze(k, body.ints(2)))
    scores = op.Squeeze(op.MatMul(reached, op.Unsqueeze(r, body.ints(4))), body.ints(4))
    inside = op.MatMul(op.Mul(scores, pairs.earlier_cc), v)
    carried = op.MatMul(op.Mul(r, op.Exp(pairs.before())), state)
    decayed = op.Mul(op.Transpose(op.Exp(pairs.total()), perm=[0, 1, 3, 2]), state)
    keys = op.Transpose(op.Mul(k, op.Exp(pairs.after())), perm=[0, 1, 3, 2])
    body.output(op.Add(decayed, op.MatMul(keys, v)), 4)
    body.output(op.Add(inside, carried), 4)
    return body
