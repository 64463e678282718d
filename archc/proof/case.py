"""Cases of a family: a tiny checkpoint each, with an independent implementation of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = Sequence[Sequence[int]]
Outputs = Mapping[str, NDArray[np.float32]]
"""By role: logits [batch, seq, vocab], hidden_states [batch, seq, width], pooled [batch, width],
classes [batch, labels] or [batch, seq, labels]."""


class Reference(Protocol):
    """An independent implementation of a tiny model with fixed random weights."""

    @property
    def provenance(self) -> str:
        """Name the class and its package's version, or the file that holds the implementation."""

    @property
    def parameters(self) -> int:
        """Return the number of parameters, shared ones counted once."""

    def save(self, folder: Path) -> None:
        """Write the checkpoint: config.json and safetensors."""

    def outputs(self, ids: Ids, token_type_ids: Ids | None = None, source: Ids | None = None) -> Outputs:
        """Run rows of one length without a cache.

        An encoder-decoder reads `source` with its encoder, whose output is `hidden_states`.
        """

    def in_steps(
        self, ids: Sequence[int], sizes: Sequence[int], source: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        """Return the logits [seq, vocab] of one row, fed in calls of the given sizes."""


@dataclass(frozen=True)
class Case:
    """One variant of a family."""

    name: str
    make: Callable[[], Reference]
    #: Tokens of the longest prompt of the checks.
    length: int = 13
    #: The spec's name, for checkpoints whose config.json does not identify the family.
    spec: str | None = None
    #: Cached decoding differs from one full run by the model's definition (dynamic rope scaling).
    depends_on_calls: bool = False
    #: First tokens of every prompt, which one call must hold; an encoder-decoder's start tokens.
    lead: tuple[int, ...] = ()
    #: New tokens of the golden sequence.
    tokens: int = 12
    topology: Literal["decoder", "encoder", "encoder-decoder"] = "decoder"
