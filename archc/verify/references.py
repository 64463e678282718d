"""The interface of a reference: a model that is compared with the plan, prompt by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Reference(Protocol):
    """A model with the outputs of one prompt at a time."""

    name: str

    def outputs(self, ids: Sequence[int], answer: Sequence[int] | None = None) -> dict[str, Floats]:
        """Return float32 outputs of one prompt alone by role, [seq, …]; `pooled` is [hidden].

        An encoder-decoder's prompt is its source: hidden_states are of the source, logits of the `answer`.
        """
        ...

    def steps(self, ids: Sequence[int], tokens: Sequence[int]) -> Floats:
        """Return the logits [1 + n, vocab] after the prompt, and after each of n more tokens, read with a cache.

        Raises NotImplementedError if the reference keeps no cache.
        """
        ...


def to_numpy(value: torch.Tensor) -> Floats:
    """Return the first row of a batch as float32."""
    array: Floats = value[0].float().numpy()
    return array
