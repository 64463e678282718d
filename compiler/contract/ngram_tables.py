"""The tables of a memory of n-grams: their numbers of rows, and the multipliers of its hashes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from math import isqrt

from archc.archspec import vocabulary as words

_WORD = 2**64
# Increment and factors of SplitMix64 (Steele et al. 2014, figure 14), and the distance of the seeds of two memories.
_INCREMENT, _FACTORS, _SEEDS = 0x9E3779B97F4A7C15, ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)), 10007


class NgramTables:
    """The tables of one memory, which are one table, each after the other; those of 2 tokens are first."""

    def __init__(self, word: words.NgramMemory, vocab: int) -> None:
        self.count = (word.order - 1) * word.heads
        first = word.index * self.count
        self.sizes = list(islice(primes(word.rows), first, first + self.count))
        self.offsets = [sum(self.sizes[:index]) for index in range(self.count)]
        self.rows = -(-sum(self.sizes) // word.multiple) * word.multiple
        self.multipliers = multipliers(word.seed + _SEEDS * word.index, word.order, vocab)


def primes(least: int) -> Iterator[int]:
    """Yield the prime numbers from `least` on, in order."""
    for number in count(max(least, 2)):
        if all(number % divisor for divisor in range(2, isqrt(number) + 1)):
            yield number


def multipliers(seed: int, number: int, vocab: int) -> list[int]:
    """Return pseudo-random odd numbers whose products with a token are below 2^63."""
    half = max(1, (2**63 - 1) // vocab // 2)
    return [2 * (split_mix(seed + _INCREMENT * (index + 1)) % half) + 1 for index in range(number)]


def split_mix(state: int) -> int:
    """Return the next number of SplitMix64 after a state (Steele et al. 2014, section 4)."""
    value = (state + _INCREMENT) % _WORD
    for shift, factor in _FACTORS:
        value = (value ^ (value >> shift)) * factor % _WORD
    return value ^ (value >> 31)
