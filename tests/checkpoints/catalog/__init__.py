"""The official checkpoints of all families, one entry each."""

from __future__ import annotations

from collections.abc import Sequence

from tests.checkpoints.catalog import chinese, decoders, deepseek, encoders, glm, gpt, llama, rwkv
from tests.checkpoints.checkpoint import Checkpoint, Refused

_MODULES = (encoders, rwkv, glm, gpt, llama, deepseek, chinese, decoders)
CHECKPOINTS: Sequence[Checkpoint] = [row for module in _MODULES for row in module.CHECKPOINTS]
REFUSED: Sequence[Refused] = decoders.REFUSED
