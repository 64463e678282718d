"""Interface of a rule on the output as a whole, such as a grammar."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Constraint(Protocol):
    """A rule on the output as a whole, such as a grammar."""

    def apply(self, logits: Floats) -> Floats:
        """Return the logits, float32 [vocab], with -inf for tokens that must not come next."""
        ...

    def accept(self, token: int) -> None:
        """Note a token that was chosen."""
        ...

    def fork(self) -> Constraint:
        """Return a constraint at the same position, without an effect on this one."""
        ...
