"""Sizes that are read off the tensors of a checkpoint: one axis of a tensor, or the number of layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

LAYER = "{layer}"
_SIZE = re.compile(r"(?P<tensor>[^\[\]{}\s]+)\[(?P<axis>[0-7])\]")
_COUNT = re.compile(r"[^\[\]{}\s]*\{layer\}[^\[\]{}\s]*")


@dataclass(frozen=True)
class TensorSize:
    """The size of an axis of a tensor; without an axis, the number of tensors whose name has an index for `{layer}`."""

    tensor: str
    axis: int | None

    def read(self, names: Collection[str], shape: Callable[[str], tuple[int, ...]]) -> int | None:
        """Return the size, or None if the checkpoint has no such tensor or axis."""
        if self.axis is None:
            count = 0
            while self.tensor.replace(LAYER, str(count)) in names:
                count += 1
            return count or None
        if self.tensor not in names:
            return None
        sizes = shape(self.tensor)
        return sizes[self.axis] if self.axis < len(sizes) else None

    def __str__(self) -> str:
        """Return a description for messages."""
        if self.axis is None:
            return f"tensor '{self.tensor.replace(LAYER, '0')}'"
        return f"axis {self.axis} of tensor '{self.tensor}'"


def parse_size(text: str) -> TensorSize | None:
    """Return the size that `name[axis]`, or a name with `{layer}`, stands for; None for any other text."""
    if match := _SIZE.fullmatch(text):
        return TensorSize(match["tensor"], int(match["axis"]))
    return TensorSize(text, None) if _COUNT.fullmatch(text) else None
