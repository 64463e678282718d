"""Per-layer embeddings: a vector for each layer from the token, and the branch of a layer that reads it (Gemma 3n).

Shape suffixes as in `archc.compiler.ops.operators`, and: L layers, E width of the vector of one layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.activations import make_activation
from archc.compiler.modules.basic.linear import Linear, scaled
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.basic.table import Table
from archc.compiler.ops import operators as ops


class PerLayerEmbedding(nn.Module):
    """sum_scale · (norm(projection_scale · W x) + scale · table[ids]), cut into one vector for each layer."""

    def __init__(
        self, word: words.PerLayerEmbedding, layers: int, embedding: words.Embedding, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.word, self.layers, self.vocab, width = word, layers, embedding.vocab, embedding.width
        self.tokens = Table(word.vocab, layers * word.width, dtype) if word.vocab is not None else None
        self.projection = Linear(width, layers * word.width, False, dtype)
        self.norm = make_norm(word.norm, word.width, dtype)

    def forward(self, input_ids: Tensor, x_BSN: Tensor) -> list[Tensor]:
        """int64 ids [B, S] and their embedding [B, S, N] → [B, S, E] for each layer."""
        word = self.word
        projected_BLSE = ops.split_heads(scaled(self.projection(x_BSN), word.projection_scale), self.layers)
        sum_BLSE = self.norm(projected_BLSE)
        if self.tokens is not None:
            assert word.vocab is not None
            ids = input_ids if word.vocab >= self.vocab else torch.where(input_ids >= word.vocab, 0, input_ids)
            sum_BLSE = sum_BLSE + ops.split_heads(scaled(self.tokens(ids), word.scale), self.layers)
        sum_BLSE = scaled(sum_BLSE, word.sum_scale)
        return [sum_BLSE[:, layer] for layer in range(self.layers)]


class EmbeddingBranch(nn.Module):
    """norm(output(activation(gate(x)) ⊙ e)) for the layer's vector e of the per-layer embedding."""

    def __init__(self, word: words.EmbeddingBranch, vector: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.activation = make_activation(word.activation, dtype)
        self.gate = Linear(width, vector, False, dtype)
        self.output = Linear(vector, width, False, dtype)
        self.norm = make_norm(word.norm, width, dtype)

    def forward(self, x_BSN: Tensor, vector_BSE: Tensor) -> Tensor:
        """[B, S, N], [B, S, E] → [B, S, N]."""
        y: Tensor = self.norm(self.output(self.activation(self.gate(x_BSN)) * vector_BSE))
        return y
