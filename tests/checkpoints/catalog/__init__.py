"""The official checkpoints of all families, one entry each."""

from __future__ import annotations

from collections.abc import Sequence

from tests.checkpoints.catalog import chinese, deepseek, glm, llama
from tests.checkpoints.checkpoint import Checkpoint, Refused

CHECKPOINTS: Sequence[Checkpoint] = (*glm.CHECKPOINTS, *chinese.CHECKPOINTS, *llama.CHECKPOINTS, *deepseek.CHECKPOINTS)
REFUSED: Sequence[Refused] = ()
