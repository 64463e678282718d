"""Tensors of the same slots, streamed together: each quantized matrix is computed once, for all of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from archc.compiler.weights.formats.format import QuantizedMatrix, QuantizedTensor
from archc.compiler.weights.formats.stored_blocks import StoredBlocks
from archc.compiler.weights.lazy import RowSource, WeightTensor, join_rows

OpenSlot = Callable[[str], Tensor | RowSource]


def _not_stored(slot: str) -> RowSource:
    raise ValueError(f"{slot} is not stored in groups of integers")


class Group:
    """Weights in the order in which they are written, with what is computed for several of them at once.

    The first tensor of a quantized matrix to be written runs the pass over the matrix and streams from it. The pass
    computes the other tensors of the group as well; each is kept until it is written, and tensors that are not in the
    group are not kept.
    """

    def __init__(
        self, tensors: Sequence[WeightTensor], open_slot: OpenSlot, open_stored: OpenSlot = _not_stored
    ) -> None:
        self._open, self._open_stored = open_slot, open_stored
        self._roles: dict[QuantizedMatrix, list[str]] = {}
        self._kept: dict[tuple[QuantizedMatrix, str], Tensor] = {}
        for part in (part for tensor in tensors for part in tensor.in_parts()):
            if isinstance(part, QuantizedTensor):
                self._roles.setdefault(part.matrix, []).append(part.role)

    def blocks(self, part: WeightTensor) -> Iterator[Tensor]:
        """Yield the blocks of one of the tensors' parts; parts come in order, each is read to its end."""
        if not isinstance(part, QuantizedTensor):
            yield from part.blocks(self.rows(part))
            return
        matrix, role = part.matrix, part.role
        if (matrix, role) in self._kept:
            yield from part.part.stored(self._kept.pop((matrix, role)))
            return
        others = [other for other in dict.fromkeys(self._roles.pop(matrix, ())) if other != role]
        kept = yield from matrix.compute(self._float32(matrix), role, others)
        self._kept |= {(matrix, other): values for other, values in kept.items()}

    def rows(self, part: WeightTensor) -> Tensor | RowSource:
        """Return the rows of a part's slots as the checkpoint has them."""
        return join_rows([self._open(slot) for slot in part.slots])

    def _float32(self, matrix: QuantizedMatrix) -> Iterator[Tensor]:
        for part in matrix.weight.in_parts():
            open_slot = self._open_stored if isinstance(matrix.format, StoredBlocks) else self._open
            yield from part.blocks(join_rows([open_slot(slot) for slot in part.slots]), torch.float32)
