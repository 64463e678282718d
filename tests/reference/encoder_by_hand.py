"""References of our own of encoders: the hidden states of one row at a time, and the heads of BERT on them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from archc.proof.case import Ids, Outputs
from tests.reference.by_hand import ByHand


class EncoderByHand(ByHand):
    """A model whose outputs are the hidden states of a row, and those that `heads` computes from them."""

    def outputs(self, ids: Ids, token_type_ids: Ids | None = None) -> Outputs:
        """Every output by role."""
        types = token_type_ids or [[0] * len(row) for row in ids]
        states = [self.states(row, types_of_row) for row, types_of_row in zip(ids, types, strict=True)]
        rows = [{"hidden_states": x} | self.heads(x) for x in states]
        return {role: torch.stack([row[role] for row in rows]).numpy() for role in rows[0]}

    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""
        return self.heads(self.states(ids, [0] * len(ids)))["logits"]

    @abstractmethod
    def states(self, ids: Sequence[int], types: Sequence[int]) -> Tensor:
        """Hidden states [seq, width] of one row of ids and of token types."""

    @abstractmethod
    def heads(self, x: Tensor) -> dict[str, Tensor]:
        """Further outputs of one row by role, from its hidden states."""


def gelu(x: Tensor) -> Tensor:
    """x · Φ(x), Φ the normal distribution (Hendrycks & Gimpel 2016)."""
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))
