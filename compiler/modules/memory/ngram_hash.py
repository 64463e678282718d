"""Hashes of n-grams of tokens: the rows of each table that an n-gram selects.

Shape suffixes as in `archc.compiler.ops.operators`, and: O tokens of the longest n-gram, H tables.
"""

from __future__ import annotations

import torch
from torch import Tensor

from archc.archspec import vocabulary as words
from archc.compiler.contract.ngram_tables import NgramTables

_BITS = 63  # of a hash, which is positive


class NgramHash(NgramTables):
    """The rows of a memory's tables that the n-grams at each token select."""

    def __init__(self, word: words.NgramMemory, vocab: int) -> None:
        super().__init__(word, vocab)
        self.word = word

    def __call__(self, history_BTO: Tensor) -> Tensor:
        """int64 tokens [B, S, O], each followed by those before it → rows of the joined table, int64 [B, S, H]."""
        device, heads = history_BTO.device, self.word.heads
        products_BTO = history_BTO * torch.tensor(self.multipliers).to(device)
        # Exclusive or without bitwise operators, which CUDA and TensorRT lack: bits are added, and sums taken modulo 2.
        powers, weights = (torch.tensor([2**bit for bit in range(_BITS)] + [last]).to(device) for last in (1, 0))
        bits_BTOX = remainder(divide(products_BTO[..., None], powers), torch.tensor(2).to(device))
        rows = []
        for tokens in range(2, self.word.order + 1):
            odd_BTX = remainder(bits_BTOX[:, :, :tokens].sum(dim=2), torch.tensor(2).to(device))
            hash_BT1 = sum_exactly(odd_BTX * weights)
            part = slice((tokens - 2) * heads, (tokens - 1) * heads)
            sizes, offsets = (torch.tensor(numbers[part]).to(device) for numbers in (self.sizes, self.offsets))
            rows.append(remainder(hash_BT1, sizes) + offsets)
        return torch.cat(rows, dim=-1)


def sum_exactly(x_BTX: Tensor) -> Tensor:
    """Return the sum of 2^n integers [B, S, 1] by halves: ONNX Runtime's ReduceSum rounds large ones to float64."""
    while x_BTX.shape[-1] > 1:
        first, second = x_BTX.chunk(2, dim=-1)
        x_BTX = first + second
    return x_BTX


def divide(x: Tensor, y: Tensor) -> Tensor:
    """Return the integer quotient of non-negative integers."""
    return torch.div(x, y, rounding_mode="trunc")


def remainder(x: Tensor, y: Tensor) -> Tensor:
    """Return the remainder of a division of non-negative integers."""
    return x - divide(x, y) * y
