"""Model heads: hidden states → logits at the requested positions, or scores of classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.activations import make_activation
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.basic.pooling import Dense, Rows, pool_tokens
from archc.compiler.ops import operators as ops


class Projection(nn.Module):
    """x · weightᵀ + bias: hidden states → logits; the weight [vocab, width] may be that of the token embedding."""

    def __init__(self, vocab: int, width: int, tied: nn.Parameter | None, bias: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = tied if tied is not None else nn.Parameter(torch.empty(vocab, width, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(vocab, dtype=dtype)) if bias else None

    def forward(self, x_BPN: Tensor) -> Tensor:
        """[B, P, width] → [B, P, vocab]."""
        return ops.linear(x_BPN, self.weight, self.bias)


NEVER = -8192.0
"""The logit of tokens that are never predicted: its exponential is zero, and as a power of two it is exact."""


class LmHead(Projection):
    """Next-token logits: softcap · tanh(scale · projection / softcap), scale and softcap only if the word has them."""

    def __init__(self, word: words.LmHead, embedding: words.Embedding, table: nn.Parameter, dtype: torch.dtype) -> None:
        width = embedding.table_width or embedding.width
        rows = word.vocab or embedding.vocab
        super().__init__(rows, width, table if word.tie else None, word.bias, dtype)
        self.scale, self.softcap = word.scale, word.softcap
        self.inputs_alone = embedding.vocab - rows  # tokens without a row of the projection
        self.projection = Linear(embedding.width, width, False, dtype) if embedding.table_width else nn.Identity()

    def forward(self, x_BPN: Tensor) -> Tensor:
        """[B, P, width] → [B, P, vocab]."""
        logits = super().forward(self.projection(x_BPN))
        if self.scale is not None:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = (logits / self.softcap).tanh() * self.softcap
        if not self.inputs_alone:
            return logits
        never = torch.tensor([NEVER]).to(logits).expand(*logits.shape[:-1], self.inputs_alone)
        return torch.cat((logits, never), dim=-1)


class MlmHead(Projection):
    """Masked-language-model logits: projection(norm(act(dense(x)))) (Devlin et al. 2018); with an inner layer,
    projection(norm(act(dense(act(inner(x)))))).
    """

    def __init__(
        self, word: words.MlmHead, embedding: words.Embedding, table: nn.Parameter, dtype: torch.dtype
    ) -> None:
        width = word.width or embedding.table_width or embedding.width
        super().__init__(embedding.vocab, width, table if word.tie else None, word.bias, dtype)
        inner = word.inner_width
        self.inner = Linear(embedding.width, inner, word.dense_bias, dtype) if inner is not None else None
        self.dense = Linear(inner or embedding.width, width, word.dense_bias, dtype)
        self.activation = make_activation(word.activation, dtype)
        self.norm = make_norm(word.norm, width, dtype)

    def forward(self, x_BPN: Tensor) -> Tensor:
        """[B, P, width] → [B, P, vocab]."""
        if self.inner is not None:
            x_BPN = self.activation(self.inner(x_BPN))
        return super().forward(self.norm(self.activation(self.dense(x_BPN))))


class ClassesHead(Projection):
    """Scores of classes: projection(norm(act(dense(x)))), of the pooled vector of a row or of each token."""

    def __init__(self, word: words.ClassesHead, width: int, dtype: torch.dtype) -> None:
        inputs = word.dense.width if word.dense is not None else width
        super().__init__(word.labels, inputs, None, word.bias, dtype)
        self.word, self.dtype = word, dtype
        self.dense = Dense(word.dense, width, dtype) if word.dense is not None else nn.Identity()
        self.norm = make_norm(word.norm, inputs, dtype)

    def forward(self, x_BSN: Tensor, rows: Rows | None = None) -> Tensor:
        """[B, S, width] → [B, labels], or [B, S, labels] for each token; pooling reads `rows`."""
        if self.word.order == "after":
            return super().forward(self.pooled(self.norm(self.dense(x_BSN)), rows))
        return super().forward(self.norm(self.dense(self.pooled(x_BSN, rows))))

    def pooled(self, x_BSN: Tensor, rows: Rows | None) -> Tensor:
        """[B, S, width] → [B, width], or the input without a pooling."""
        if self.word.pool is None:
            return x_BSN
        assert rows is not None
        return pool_tokens(self.word.pool, self.word.end_token, x_BSN, rows)


class VectorHead(Linear):
    """Vectors of tokens: a projection of their hidden states (Khattab & Zaharia 2020), [..., N] → [..., width]."""

    def __init__(self, word: words.VectorHead, width: int, dtype: torch.dtype) -> None:
        super().__init__(width, word.width, word.bias, dtype)


def make_head(
    word: words.Head, embedding: words.Embedding, table: nn.Parameter, dtype: torch.dtype
) -> LmHead | MlmHead | ClassesHead | VectorHead | None:
    """Return the module of a head word; `table` is the token embedding [vocab, width], which a tied head reads."""
    match word:
        case words.LmHead():
            return LmHead(word, embedding, table, dtype)
        case words.MlmHead():
            return MlmHead(word, embedding, table, dtype)
        case words.ClassesHead():
            return ClassesHead(word, embedding.width, dtype)
        case words.VectorHead():
            return VectorHead(word, embedding.width, dtype)
        case words.NoHead():
            return None
