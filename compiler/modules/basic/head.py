"""What is made of the last hidden states: logits at the positions asked for, and a pooled vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.mlp.mlp import activation
from archc.compiler.ops import operators as ops


class Projection(nn.Module):
    """Hidden states to vocabulary logits, by a matrix of its own or by the token embedding's."""

    def __init__(self, vocab: int, width: int, tied: nn.Parameter | None, bias: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = tied if tied is not None else nn.Parameter(torch.empty(vocab, width, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(vocab, dtype=dtype)) if bias else None

    def forward(self, x_BPN: Tensor) -> Tensor:
        """[B, P, width] → [B, P, vocab]."""
        return ops.linear(x_BPN, self.weight, self.bias)


class LmHead(Projection):
    """Next-token logits, scaled and capped where the spec says so."""

    def __init__(self, word: words.LmHead, embedding: words.Embedding, table: nn.Parameter, dtype: torch.dtype) -> None:
        width = embedding.table_width or embedding.width
        super().__init__(embedding.vocab, width, table if word.tie else None, word.bias, dtype)
        self.scale, self.softcap = word.scale, word.softcap
        self.projection = Linear(embedding.width, width, False, dtype) if embedding.table_width else nn.Identity()

    def forward(self, x_BPN: Tensor) -> Tensor:
        """[B, P, width] → [B, P, vocab]."""
        logits = super().forward(self.projection(x_BPN))
        if self.scale is not None:
            logits = logits * self.scale
        return logits if self.softcap is None else (logits / self.softcap).tanh() * self.softcap


class MlmHead(Projection):
    """Masked-language-model logits (Devlin et al. 2018): dense, activation, norm, projection."""

    def __init__(
        self, word: words.MlmHead, embedding: words.Embedding, table: nn.Parameter, dtype: torch.dtype
    ) -> None:
        width = embedding.table_width or embedding.width
        super().__init__(embedding.vocab, width, table if word.tie else None, word.bias, dtype)
        self.dense = Linear(embedding.width, width, word.dense_bias, dtype)
        self.activation = activation(word.activation, dtype)
        self.norm = make_norm(word.norm, width, dtype)

    def forward(self, x_BPN: Tensor) -> Tensor:
        """[B, P, width] → [B, P, vocab]."""
        return super().forward(self.norm(self.activation(self.dense(x_BPN))))


class FirstTokenPooler(Linear):
    """tanh(dense(hidden state of token 0)) (Devlin et al. 2018)."""

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        super().__init__(width, width, True, dtype)

    def forward(self, x_BSN: Tensor) -> Tensor:
        """[B, S, width] → [B, width]."""
        return super().forward(x_BSN[:, 0]).tanh()


def make_head(
    word: words.Head, embedding: words.Embedding, table: nn.Parameter, dtype: torch.dtype
) -> LmHead | MlmHead | None:
    """The module of a head word; `table` is the token embedding, for a tied head."""
    match word:
        case words.LmHead():
            return LmHead(word, embedding, table, dtype)
        case words.MlmHead():
            return MlmHead(word, embedding, table, dtype)
        case words.NoHead():
            return None
