"""Pooling: the hidden states of a row's tokens → one vector.

Shape suffixes as in `archc.compiler.ops.operators`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.activations import make_activation
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.ops import operators as ops

_LARGE, _SMALL = 1e38, 1e-24  # above any hidden state, and below the square of any norm
_MOST = 2.0**23  # above any position, and exact in float32 as are the differences from it


class Rows(NamedTuple):
    """Facts of the rows of a call that pooling reads: their lengths, int64 [B], and token ids, int64 [B, S]."""

    lengths_B: Tensor | None = None
    input_ids_BS: Tensor | None = None


def pool_tokens(kind: str, end_token: int | None, x_BSN: Tensor, rows: Rows, first: bool = False) -> Tensor:
    """Pool hidden states [B, S, N] to [B, N]; means are computed in float32.

    `first` selects the first occurrence of the end token. `weighted` is Σ i · h(i) / Σ i over the tokens of a row,
    i = 1, 2, … (Muennighoff 2022, SGPT).
    """
    if kind == "cls":
        return x_BSN[:, 0]
    assert rows.lengths_B is not None
    lengths_B = rows.lengths_B
    if kind == "last":
        return _take(x_BSN, lengths_B - 1)
    positions_S = torch.arange(x_BSN.shape[1], device=x_BSN.device)
    real_BS = (lengths_B[:, None] > positions_S).float()
    numbers_S = positions_S.float() + 1
    if kind in ("eos", "highest"):
        assert rows.input_ids_BS is not None
        ends_BS = real_BS * _ends(kind, end_token, rows.input_ids_BS, real_BS)
        if first or kind == "highest":
            found_B = (ends_BS * (_MOST - numbers_S)).amax(1)
            number_B = _MOST - found_B - found_B.eq(0).float() * (_MOST - 1)
        else:
            found_B = (ends_BS * numbers_S).amax(1)
            number_B = found_B + found_B.eq(0).float() * lengths_B.float()
        return _take(x_BSN, number_B.to(torch.int64) - 1)
    wide_BSN, real_BS1 = x_BSN.float(), real_BS[:, :, None]
    if kind == "max":
        pooled_BN = (wide_BSN * real_BS1 + (real_BS1 - 1) * _LARGE).amax(1)
    else:
        weights_BS1 = real_BS1 * numbers_S[:, None] if kind == "weighted" else real_BS1
        pooled_BN = (wide_BSN * weights_BS1).sum(1) / weights_BS1.sum(1)
    return pooled_BN.to(x_BSN.dtype)


def _ends(kind: str, end_token: int | None, input_ids_BS: Tensor, real_BS: Tensor) -> Tensor:
    """Return 1 at the tokens that pooling may select, the end token or that with the highest id, float32 [B, S]."""
    if kind == "eos":
        assert end_token is not None
        return input_ids_BS.eq(end_token).float()
    numbers_BS = (input_ids_BS.float() + 1) * real_BS
    return numbers_BS.eq(numbers_BS.amax(1, keepdim=True)).float()


def _take(x_BSN: Tensor, positions_B: Tensor) -> Tensor:
    return ops.take_positions(x_BSN, positions_B[:, None])[:, 0]


class FirstTokenPooler(Linear):
    """tanh(dense(hidden state of the first token)) (Devlin et al. 2018)."""

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        super().__init__(width, width, True, dtype)

    def forward(self, x_BSN: Tensor, rows: Rows | None = None) -> Tensor:
        """[B, S, width] → [B, width]."""
        return super().forward(x_BSN[:, 0]).tanh()


class Dense(Linear):
    """act(dense(x)), and a second such layer if the word has one."""

    def __init__(self, word: words.DenseLayer, inputs: int, dtype: torch.dtype) -> None:
        super().__init__(inputs, word.width, word.bias, dtype)
        self.word = word
        second = word.then if isinstance(word, words.DenseProjection) else None
        self.then = Dense(second, word.width, dtype) if second is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """[…, inputs] → […, width]."""
        x = DENSE_ACTIVATIONS[self.word.activation](super().forward(x))
        return x if self.then is None else self.then(x)


class Pooling(nn.Module):
    """Pooling over the tokens of each row without padding, a projection, and a division by the Euclidean norm
    (Reimers & Gurevych 2019).
    """

    def __init__(self, word: words.Pooling, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.dtype = word, dtype
        self.dense = Dense(word.dense, width, dtype) if word.dense is not None else None

    def forward(self, x_BSN: Tensor, rows: Rows) -> Tensor:
        """[B, S, width] → [B, width], or [B, width of the dense projection]."""
        first = getattr(self.word, "occurrence", "last") == "first"
        pooled_BN = pool_tokens(self.word.kind, getattr(self.word, "end_token", None), x_BSN, rows, first)
        if self.dense is not None:
            pooled_BN = self.dense(pooled_BN)
        if self.word.normalize:
            wide_BN = pooled_BN.float()
            pooled_BN = wide_BN / ((wide_BN * wide_BN).sum(-1, keepdim=True) + _SMALL).sqrt()
        return pooled_BN.to(self.dtype)


DENSE_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "tanh": torch.tanh,
    **{name: make_activation(name, torch.float32) for name in ("relu", "gelu", "gelu_tanh", "silu")},
}


def make_pooler(word: words.Pooler, width: int, dtype: torch.dtype) -> FirstTokenPooler | Pooling | None:
    """Return the module of a pooler word."""
    match word:
        case words.FirstTokenPooler():
            return FirstTokenPooler(width, dtype)
        case words.Pooling():
            return Pooling(word, width, dtype)
        case _:
            return None
