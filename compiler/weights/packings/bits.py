"""Integers of a few bits in 32-bit words: a dense stream, the first integer in the lowest bits."""

from __future__ import annotations

import torch
from torch import Tensor

_WORD = 32


def unpack(words: Tensor, bits: int) -> Tensor:
    """Return uint8 [..., W · 32 / bits] of int32 [..., W]; integers of bits that do not divide 32 may span two words.

    Raises ValueError if W words do not hold a whole number of integers.
    """
    if words.shape[-1] * _WORD % bits:
        raise ValueError(f"{words.shape[-1]} words do not hold a whole number of {bits}-bit integers")
    stored = words.contiguous().view(torch.uint8)
    if bits == 8:
        return stored
    if 8 % bits == 0:
        return torch.stack([(stored >> shift) & (2**bits - 1) for shift in range(0, 8, bits)], -1).flatten(-2)
    count = words.shape[-1] * _WORD // bits
    starts = torch.arange(count) * bits
    # A byte has all bits of an integer of up to 8 bits together with its neighbor.
    wide = torch.nn.functional.pad(stored, (0, 1)).int()
    at = starts // 8
    pairs = wide[..., at] | wide[..., at + 1] << 8
    return (pairs >> starts % 8 & (2**bits - 1)).to(torch.uint8)


def word_range(start: int, stop: int, bits: int, words: int) -> tuple[slice, int]:
    """Return the words that hold integers [start, stop), and how many integers come before `start` in them."""
    aligned = start // _WORD * _WORD  # so many integers always begin at a word
    last = min(-(-stop // _WORD) * bits, words)
    return slice(aligned * bits // _WORD, last), start - aligned
