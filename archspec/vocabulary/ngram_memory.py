"""Conditional memory: tables of n-grams of tokens, which a layer reads."""

from __future__ import annotations

from pydantic import Field

from archc.archspec.vocabulary.base import Section, Size
from archc.archspec.vocabulary.norm import RmsNorm


class NgramMemory(Section):
    """Conditional memory before the mixer (Cheng et al. 2026, Engram, section 2). Hashes of 2 to `order` tokens select
    rows of tables, which are joined to one vector e. With s = norm(K e) · norm(x) / sqrt(width) and
    v = sigmoid(sign(s) · sqrt(|s|)) · V e, v + silu(convolution(norm(v))) is added to the residual stream x, or to each
    of several streams, with a key of its own. The convolution has steps of `order` tokens. A hash of n tokens is the
    exclusive or of their products with random odd multipliers, modulo the table's prime number of rows.
    """

    order: int = Field(ge=2, le=16, description="Number of tokens of the longest n-gram.")
    heads: Size = Field(description="Number of tables for each n.")
    width: Size = Field(description="Width of the vector e, in equal parts from all tables.")
    rows: Size = Field(description="Least number of rows of a table: they have the prime numbers from this one on.")
    multiple: Size = Field(1, description="The rows of all tables are filled up to a multiple of this number.")
    index: int = Field(
        ge=0, le=10**4, description="Number of layers with a memory before this one, whose primes differ."
    )
    seed: int = Field(ge=0, le=2**31 - 1, description="Seed of the multipliers.")
    separator: int = Field(ge=0, le=10**8, description="Id of the token between texts, which no n-gram contains.")
    kernel: int = Field(ge=2, le=1024, description="Kernel size of the convolution.")
    norm: RmsNorm = Field(description="Norm on keys, queries and values, each stream with a weight of its own.")
