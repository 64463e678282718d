"""Model heads: hidden states → logits at the requested positions, or a pooled vector."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.activations import make_activation
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm
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


class LmHead(Projection):
    """Next-token logits: softcap · tanh(scale · projection / softcap), scale and softcap only if the word has them."""

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
    """Masked-language-model logits: projection(norm(act(dense(x)))) (Devlin et al. 2018)."""

    def __init__(
        self, word: words.MlmHead, embedding: words.Embedding, table: nn.Parameter, dtype: torch.dtype
    ) -> None:
        width = embedding.table_width or embedding.width
        super().__init__(embedding.vocab, width, table if word.tie else None, word.bias, dtype)
        self.dense = Linear(embedding.width, width, word.dense_bias, dtype)
        self.activation = make_activation(word.activation, dtype)
        self.norm = make_norm(word.norm, width, dtype)

    def forward(self, x_BPN: Tensor) -> Tensor:
        """[B, P, width] → [B, P, vocab]."""
        return super().forward(self.norm(self.activation(self.dense(x_BPN))))


class FirstTokenPooler(Linear):
    """tanh(dense(hidden state of the first token)) (Devlin et al. 2018)."""

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        super().__init__(width, width, True, dtype)

    def forward(self, x_BSN: Tensor) -> Tensor:
        """[B, S, width] → [B, width]."""
        return super().forward(x_BSN[:, 0]).tanh()


class DenseProjection(Linear):
    """act(dense(x)) of a pooled vector (Reimers & Gurevych 2020)."""

    def __init__(self, word: words.DenseProjection, inputs: int, dtype: torch.dtype) -> None:
        super().__init__(inputs, word.width, word.bias, dtype)
        self.word = word

    def forward(self, x_BN: Tensor) -> Tensor:
        """[B, inputs] → [B, width]."""
        return _PROJECTED[self.word.activation](super().forward(x_BN))


class Pooling(nn.Module):
    """Pooling over the tokens of each row without padding, computed in float32 (Reimers & Gurevych 2019)."""

    def __init__(self, word: words.Pooling, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.dtype = word, dtype
        self.dense = DenseProjection(word.dense, width, dtype) if word.dense is not None else None

    def forward(self, x_BSN: Tensor, lengths_B: Tensor) -> Tensor:
        """[B, S, width] and int64 lengths → [B, width], or [B, width of the dense projection]."""
        positions_S = torch.arange(x_BSN.shape[1], device=x_BSN.device)
        real_BS1 = (lengths_B[:, None, None] > positions_S[:, None]).float()
        pooled_BN = self._pool(x_BSN.float(), real_BS1, lengths_B)
        if self.dense is not None:
            pooled_BN = self.dense(pooled_BN.to(self.dtype)).float()
        if self.word.normalize:
            pooled_BN = pooled_BN / ((pooled_BN * pooled_BN).sum(-1, keepdim=True) + _SMALL).sqrt()
        return pooled_BN.to(self.dtype)

    def _pool(self, x_BSN: Tensor, real_BS1: Tensor, lengths_B: Tensor) -> Tensor:
        match self.word:
            case words.MeanPooler():
                return (x_BSN * real_BS1).sum(1) / lengths_B[:, None].float()
            case words.MaxPooler():
                return (x_BSN * real_BS1 + (real_BS1 - 1) * _LARGE).amax(1)
            case _:
                return x_BSN[:, 0]


_PROJECTED: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "tanh": torch.tanh,
    **{name: make_activation(name, torch.float32) for name in ("relu", "gelu", "silu")},
}
_SMALL, _LARGE = 1e-24, 1e38  # below the square of any norm, and above any hidden state


def make_pooler(word: words.Pooler, width: int, dtype: torch.dtype) -> FirstTokenPooler | Pooling | None:
    """Return the module of a pooler word."""
    match word:
        case words.FirstTokenPooler():
            return FirstTokenPooler(width, dtype)
        case words.Pooling():
            return Pooling(word, width, dtype)
        case _:
            return None


def make_head(
    word: words.Head, embedding: words.Embedding, table: nn.Parameter, dtype: torch.dtype
) -> LmHead | MlmHead | None:
    """Return the module of a head word; `table` is the token embedding [vocab, width], which a tied head reads."""
    match word:
        case words.LmHead():
            return LmHead(word, embedding, table, dtype)
        case words.MlmHead():
            return MlmHead(word, embedding, table, dtype)
        case words.NoHead():
            return None
