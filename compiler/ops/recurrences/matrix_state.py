"""A matrix state for each head with a decay by head or by key channel, and a rank-one update of each token.

`rate` is None: S[t] = decay ⊙ S[t−1] + k[t]ᵀ v[t] (Sun et al. 2023, RetNet; Dao & Gu 2024, Mamba-2; Qin et al. 2024,
lightning attention). With a rate β, the delta rule: S[t] = S' + β k[t]ᵀ (v[t] − k[t] · S'), S' = decay ⊙ S[t−1]
(Yang et al. 2025, gated DeltaNet, eq. 10; Kimi Team 2025, KDA).
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from torch.library import custom_op

from archc.compiler.graph.builder import BodyBuilder, op
from archc.compiler.ops.recurrences.chunks import Cut, cut, scan, uncut
from archc.compiler.ops.recurrences.pairs import Decays, flip, inverse
from archc.compiler.ops.registry import translates

# Work on pairs of positions grows with the chunk, and the number of passes over the state shrinks. The pairs of a decay
# by channel are products of each level, those of a decay by head are one product.
MATRIX_CHUNK, CHANNEL_CHUNK = 32, 16


@custom_op("archc::matrix_state", mutates_args=())
def matrix_state(
    q_BSM: Tensor, k_BSM: Tensor, log_decay: Tensor, v_BSM: Tensor, rate_BSH: Tensor | None, state_BHDE: Tensor
) -> tuple[Tensor, Tensor]:
    """Return y[t] = q[t] · S[t] of all heads, [B, S, H · E], and the last S.

    Queries and keys have H / R heads, each of them for R heads of values; log decays are [B, S, H] or [B, S, H · D].
    """
    heads, width = state_BHDE.shape[1:3]
    q, k = (x.unflatten(-1, (-1, width)) for x in (q_BSM, k_BSM))
    q, k = (x.repeat_interleave(heads // x.shape[2], 2) for x in (q, k))
    w, v = (x.unflatten(-1, (heads, -1)) for x in (log_decay, v_BSM))
    state, rows = state_BHDE, []
    for t in range(q.shape[1]):
        state = w[:, t].exp()[..., None] * state
        new = v[:, t]
        if rate_BSH is not None:
            new = rate_BSH[:, t][..., None] * (new - torch.einsum("bhd,bhde->bhe", k[:, t], state))
        state = state + k[:, t][..., None] * new[..., None, :]
        rows.append(torch.einsum("bhd,bhde->bhe", q[:, t], state))
    return torch.stack(rows, dim=1).flatten(2), state


@matrix_state.register_fake
def _(
    q_BSM: Tensor, k_BSM: Tensor, log_decay: Tensor, v_BSM: Tensor, rate_BSH: Tensor | None, state_BHDE: Tensor
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(v_BSM), torch.empty_like(state_BHDE)


@translates(torch.ops.archc.matrix_state.default)
def _matrix_state(q: Any, k: Any, log_decay: Any, v: Any, rate: Any, state: Any) -> Any:
    """Build the products of pairs for all chunks at once, and a Scan that passes the state from chunk to chunk."""
    heads, width, values = (int(size) for size in state.shape[1:])
    key_heads = int(q.shape[-1]) // width
    widths = {"w": int(log_decay.shape[-1]) // heads, "v": values} | ({} if rate is None else {"rate": 1})
    chunk = MATRIX_CHUNK if widths["w"] == 1 else CHANNEL_CHUNK
    keys = cut([q, k], key_heads, chunk)
    chunks = cut([log_decay, v] if rate is None else [log_decay, v, rate], heads, chunk)
    groups = [key_heads, heads // key_heads] if key_heads < heads else [heads]
    q, k = _parts(keys, [key_heads, 1] if len(groups) == 2 else groups, [width, width])
    w, v, *rates = _parts(chunks, groups, list(widths.values()))
    rank = len(groups) + 3
    decays = Decays(w, widths["w"], rank + 1, chunk, state.dtype)
    scanned = [q, k, v, decays.through(), decays.after(), decays.total(), decays.scores(q, k)]
    if rates:
        removal = op.Mul(rates[0], decays.scores(k, k, strictly=True))
        solved = inverse(removal, decays)
        scanned.append(op.Mul(solved, flip(op, rates[0], rank + 1)))
    dtype = state.dtype
    body = _body(dtype, rank, bool(rates), by_head=widths["w"] == 1)
    if len(groups) == 2:
        state = op.Reshape(state, op.ints(0, *groups, width, values))
        state.shape, state.type = ir.Shape([None] * rank), ir.TensorType(dtype)
    last, y = scan(body, [state], scanned, [rank + 1])
    if len(groups) == 2:
        last = op.Reshape(last, op.ints(0, heads, width, values))
        y = op.Reshape(y, op.ints(0, 0, heads, -1, values))
    return uncut(y, chunks, heads * values), last


def _parts(chunks: Cut, groups: list[int], widths: list[int]) -> list[Any]:
    """Return each sequence of a cut, [n, B, *groups, c, width]."""
    parts = op.Split(chunks.joined_nBHcM, op.ints(*widths), axis=-1, outputs=len(widths))
    if len(groups) == 1:
        return list(parts)
    return [op.Reshape(x, op.ints(0, 0, *groups, -1, width)) for x, width in zip(parts, widths, strict=True)]


def _body(dtype: ir.DataType, rank: int, is_delta: bool, by_head: bool) -> BodyBuilder:
    """Build the pass of one chunk: y = P u + (decay · q) S, S ← decay · S + (decay · k)ᵀ u.

    u are the values or, by the delta rule, T (v − (decay · k) S), T the solved matrix times the rates.
    """
    body = BodyBuilder("matrix_state", dtype)
    op = body
    state = body.input("state", rank)
    names = ["q", "k", "values", "through", "after", "total", "scores", *(["solved"] if is_delta else [])]
    q, k, new, through, after, total, scores, *solved = (body.input(name, rank) for name in names)

    def read(x: ir.Value) -> ir.Value:
        """(decay · x) S; a decay by head is a factor on the product, whose keys several heads may share."""
        if by_head:
            return op.Mul(through, op.MatMul(x, state))
        return op.MatMul(op.Mul(x, through), state)

    if solved:
        new = op.MatMul(solved[0], op.Sub(new, read(k)))
    y = op.Add(op.MatMul(scores, new), read(q))
    if by_head:
        added = op.MatMul(flip(op, k, rank), op.Mul(after, new))
    else:
        added = op.MatMul(flip(op, op.Mul(k, after), rank), new)
    body.output(op.Add(op.Mul(flip(op, total, rank), state), added), rank)
    body.output(y, rank)
    return body
