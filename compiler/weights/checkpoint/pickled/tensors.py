"""Checkpoints in files of torch.save (.bin, .pth, .pt), as data: nothing in their pickles is imported or called."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from archc.archspec.errors import clip
from archc.compiler.errors import BuildError
from archc.compiler.files.stamp import file_stamp
from archc.compiler.weights.checkpoint.pickled.names import PickledTensor
from archc.compiler.weights.checkpoint.pickled.strided import TORCH_DTYPES, StridedReader, View
from archc.compiler.weights.checkpoint.pickled.torch_file import TorchFile, read_torch_file
from archc.compiler.weights.checkpoint.weights import BITS, Place, check_float, check_place, stored_bytes

# Keys under which training scripts store the table of a model's tensors.
_NESTED = ("model", "state_dict", "model_state_dict", "module")
_MAX_NESTING = 4
_MAX_SHOWN = 5


@dataclass(frozen=True)
class PickledEntry:
    """A tensor of a file: its dtype, and its view of the bytes from `start` on."""

    file: Path
    dtype: str
    start: int
    view: View
    stamp: tuple[int, int]


class PickledWeights:
    """The tensors of files of torch.save by name."""

    def __init__(self, entries: Mapping[str, PickledEntry]) -> None:
        self._entries = entries

    def names(self) -> Collection[str]:
        """Return the names of all tensors."""
        return self._entries.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self._entries[name].view.shape

    def dtype(self, name: str) -> str:
        """Return the dtype of a tensor by its name in safetensors."""
        return self._entries[name].dtype

    def bytes(self, name: str) -> int:
        """Return the size of a tensor in bytes, without the gaps of its view."""
        return stored_bytes(self._entries[name].dtype, self._entries[name].view.shape)

    def check_numbers(self, names: Iterable[str]) -> None:
        """Raise BuildError if one of these tensors has a dtype that no weight may have, or repeats its elements."""
        for name in names:
            entry = self._entries[name]
            check_float(entry.file, name, entry.dtype)
            _check_distinct(name, entry)

    def read(self, name: str, place: Place = ()) -> Tensor:
        """Return a tensor of any dtype, or its part at a place along its first axes; only the part is read.

        Raises BuildError for a file that cannot be read, and ValueError for a place out of bounds.
        """
        entry = self._entries[name]
        check_place(place, entry.view.shape)
        _check_distinct(name, entry)
        if entry.dtype not in TORCH_DTYPES:
            raise BuildError(
                f"{entry.file}: tensor '{clip(name)}': the dtype {entry.dtype} is not supported; remove it"
            )
        try:
            with entry.file.open("rb", buffering=0) as file:
                if file_stamp(file) != entry.stamp:
                    raise BuildError(f"{entry.file}: changed during the build; build again")
                return StridedReader(file, entry.start, TORCH_DTYPES[entry.dtype]).read(entry.view.at(place))
        except OSError as error:
            raise BuildError(f"{entry.file}: tensor '{clip(name)}' cannot be read: {error}; build again") from None


def read_pickled(file: Path) -> dict[str, PickledEntry]:
    """Return the tensors of a file of torch.save by name. Raises BuildError if it is damaged or has more in it."""
    contents = read_torch_file(file)
    return {name: _entry(contents, name, tensor) for name, tensor in _find_table(contents).items()}


def _find_table(contents: TorchFile) -> dict[str, PickledTensor]:
    """Return the table of a model's tensors: the value itself, or the one under a key of training scripts."""
    value = contents.value
    for _ in range(_MAX_NESTING):
        if not isinstance(value, dict):
            break
        tensors = {name: each for name, each in value.items() if isinstance(each, PickledTensor)}
        if tensors:
            return tensors
        value = next((value[key] for key in _NESTED if isinstance(value.get(key), dict)), None)
    if isinstance(contents.value, dict):
        keys = ", ".join(f"'{clip(key)}'" for key in list(contents.value)[:_MAX_SHOWN]) or "none"
        shown = f"a table with the keys {keys}"
    else:
        shown = "a single tensor" if isinstance(contents.value, PickledTensor) else "no table"
    raise BuildError(
        f"{contents.path}: no tensors by name, but {shown}; save model.state_dict(), alone or under one of the keys "
        f"{', '.join(_NESTED)}"
    )


def _entry(contents: TorchFile, name: str, tensor: PickledTensor) -> PickledEntry:
    """Return a tensor's place in the file. Raises BuildError if it is not within its storage."""
    start, size = contents.storages[tensor.storage.key]
    view = View(tensor.offset, tensor.shape, tensor.stride)
    if view.end * BITS[tensor.dtype] // 8 > size:
        raise BuildError(
            f"{contents.path}: tensor '{clip(name)}' {list(tensor.shape)} with offset {tensor.offset} and strides "
            f"{list(tensor.stride)} is larger than its storage of {size} bytes; download it again"
        )
    return PickledEntry(contents.path, tensor.dtype, start, view, contents.stamp)


def _check_distinct(name: str, entry: PickledEntry) -> None:
    """Raise BuildError for a tensor with more elements than its storage: it may be of any size."""
    if math.prod(entry.view.shape) > max(0, entry.view.end - entry.view.offset):
        raise BuildError(
            f"{entry.file}: tensor '{clip(name)}' {list(entry.view.shape)} repeats elements of its storage; save a "
            "copy of it (contiguous())"
        )
