"""Parts for model parallelism: files that each have a part of every split tensor, and a copy of every other one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from archc.archspec.errors import clip
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.weights import Place, Weights, check_place


class JoinedParts:
    """The tensors of several parts as one checkpoint; `axes` has the axis along which each split tensor is joined.

    Raises BuildError if parts have different tensors, or shapes that do not fit each other.
    """

    def __init__(self, folder: Path, parts: Sequence[Weights], axes: Mapping[str, int]) -> None:
        self._folder, self._parts, self._axes = folder, parts, axes
        names = set(parts[0].names())
        for part in parts[1:]:
            if different := sorted(names.symmetric_difference(part.names())):
                raise BuildError(
                    f"{folder}: tensor '{clip(different[0])}' is not in every part; download the folder again"
                )
        self._shapes = {name: self._joined_shape(name) for name in parts[0].names()}

    def names(self) -> Collection[str]:
        """Return the names of all tensors."""
        return self._shapes.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, joined if it is split."""
        return self._shapes[name]

    def dtype(self, name: str) -> str:
        """Return the dtype of a tensor by its name in safetensors."""
        return self._parts[0].dtype(name)

    def bytes(self, name: str) -> int:
        """Return the size of a tensor in bytes, as stored; a copied tensor counts once."""
        parts = self._parts if name in self._axes else self._parts[:1]
        return sum(part.bytes(name) for part in parts)

    def check_numbers(self, names: Iterable[str]) -> None:
        """Raise BuildError if one of these tensors has a dtype that no weight may have."""
        names = list(names)
        for part in self._parts:
            part.check_numbers(names)

    def read(self, name: str, place: Place = ()) -> Tensor:
        """Return a tensor, or its part at a place along its first axes; only this part is read, from each file.

        Raises BuildError for a file that cannot be read, and for copies that differ, and ValueError for a place out of
        bounds.
        """
        shape = self._shapes[name]
        check_place(place, shape)
        axis = self._axes.get(name)
        if axis is None:
            return self._read_copies(name, place)
        if len(place) <= axis:
            # Only earlier axes are cut, and an index removes its axis from the result.
            removed = sum(not isinstance(at, slice) for at in place)
            return torch.cat([part.read(name, place) for part in self._parts], dim=axis - removed)
        at = place[axis]
        start, stop = (at.start, at.stop) if isinstance(at, slice) else (at, at + 1)
        pieces, first = [], 0
        for part in self._parts:
            size = part.shape(name)[axis]
            begin, end = max(start, first), min(stop, first + size)
            if begin < end:
                inner = slice(begin - first, end - first) if isinstance(at, slice) else begin - first
                pieces.append(part.read(name, (*place[:axis], inner, *place[axis + 1 :])))
            first += size
        if not isinstance(at, slice):
            return pieces[0]
        return torch.cat(pieces, dim=axis - sum(not isinstance(other, slice) for other in place[:axis]))

    def _read_copies(self, name: str, place: Place) -> Tensor:
        """Return a tensor that every part has a copy of."""
        first = self._parts[0].read(name, place)
        if not all(torch.equal(first, part.read(name, place)) for part in self._parts[1:]):
            raise BuildError(
                f"{self._folder}: tensor '{clip(name)}' differs between the parts, expected copies; download the "
                "folder again"
            )
        return first

    def _joined_shape(self, name: str) -> tuple[int, ...]:
        shapes, axis = [part.shape(name) for part in self._parts], self._axes.get(name)
        others = shapes if axis is None else [(*shape[:axis], *shape[axis + 1 :]) for shape in shapes]
        dtypes = {part.dtype(name) for part in self._parts}
        if len(set(others)) > 1 or len(dtypes) > 1 or (axis is not None and axis >= len(shapes[0])):
            listed = ", ".join(str(list(shape)) for shape in shapes[:3])
            raise BuildError(
                f"{self._folder}: tensor '{clip(name)}' does not fit together from its parts {listed}; download the "
                "folder again"
            )
        if axis is None:
            return shapes[0]
        return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])
