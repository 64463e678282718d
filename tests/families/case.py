"""What a family's reference file gives: cases, each a tiny checkpoint and an independent computation of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = Sequence[Sequence[int]]
Outputs = Mapping[str, NDArray[np.float32]]
"""By role: logits [batch, seq, vocab], hidden_states [batch, seq, width], pooled [batch, width]."""


class Reference(Protocol):
    """An independent implementation of a tiny model with fixed random weights."""

    @property
    def source(self) -> str:
        """Where it comes from: a class and its package's version, or the file that holds it."""

    @property
    def parameters(self) -> int:
        """How many numbers the model has, shared ones counted once."""

    def save(self, folder: Path) -> None:
        """Writes the checkpoint: config.json and safetensors."""

    def outputs(self, ids: Ids, token_type_ids: Ids | None = None, source: Ids | None = None) -> Outputs:
        """What the model computes for rows of one length, without a cache.

        An encoder-decoder has a `source`, and of it hidden_states.
        """

    def in_steps(
        self, ids: Sequence[int], sizes: Sequence[int], source: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        """Logits [seq, vocab] of one row, taken in by calls of the given sizes."""


@dataclass(frozen=True)
class Case:
    """One variant of a family.

    `length` is the longest prompt of the checks; a model whose cached decoding differs from a full run by its very
    definition (dynamic rope scaling) says so with `depends_on_calls`.
    """

    name: str
    make: Callable[[], Reference]
    length: int = 13
    spec: str | None = None  # where no config.json tells the family
    depends_on_calls: bool = False
    lead: tuple[int, ...] = ()  # what every prompt begins with, all of it in the first call; an answer's start tokens
    tokens: int = 12  # of the golden sequence
    topology: Literal["decoder", "encoder", "encoder-decoder"] = "decoder"  # an encoder has no cache to check
