"""Checkpoints in safetensors files. Headers are read when a checkpoint is opened, a tensor's bytes when it is read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from archc.archspec.errors import clip
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.weights import BITS, Place, check_float, check_place, stored_bytes

_REOPEN_BYTES = 128 * 2**20


@dataclass(frozen=True)
class SafetensorsEntry:
    """A tensor of a header: its file, shape, and dtype."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


class SafetensorsWeights:
    """The tensors of safetensors files by name."""

    def __init__(self, entries: Mapping[str, SafetensorsEntry]) -> None:
        self._entries = entries
        self._opened: tuple[Path, safe_open] | None = None
        self._mapped = 0

    def names(self) -> Collection[str]:
        """Return the names of all tensors."""
        return self._entries.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self._entries[name].shape

    def dtype(self, name: str) -> str:
        """Return the dtype of a tensor by its name in safetensors."""
        return self._entries[name].dtype

    def bytes(self, name: str) -> int:
        """Return the size of a tensor in bytes, as stored."""
        return stored_bytes(self._entries[name].dtype, self._entries[name].shape)

    def check_numbers(self, names: Iterable[str]) -> None:
        """Raise BuildError if one of these tensors has a dtype that no weight may have."""
        for name in names:
            check_float(self._entries[name].file, name, self._entries[name].dtype)

    def read(self, name: str, place: Place = ()) -> Tensor:
        """Return a tensor of any dtype, or its part at a place along its first axes; only the part is read.

        Raises BuildError for a file that cannot be read, and ValueError for a place out of bounds.
        """
        entry = self._entries[name]
        # A memory map keeps pages resident once they were read: one file is open at a time, and not for long.
        self._mapped += check_place(place, entry.shape) * BITS[entry.dtype] // 8
        if self._opened is None or self._opened[0] != entry.file or self._mapped > _REOPEN_BYTES:
            self._opened, self._mapped = (entry.file, _open(entry.file)), 0
        try:
            view = self._opened[1].get_slice(name)
            changed = tuple(view.get_shape()) != entry.shape or view.get_dtype() != entry.dtype
            value: Tensor = view[place] if place else self._opened[1].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise BuildError(
                f"{entry.file}: tensor '{clip(name)}' cannot be read: {error}; download it again"
            ) from None
        if changed:
            raise BuildError(f"{entry.file}: tensor '{clip(name)}' changed during the build; build again")
        return value


def read_safetensors(file: Path) -> dict[str, SafetensorsEntry]:
    """Return the tensors of a safetensors file by name. Raises BuildError if it is damaged."""
    handle = _open(file)
    views = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118  it has no other iterator
    entries = {name: SafetensorsEntry(file, tuple(view.get_shape()), view.get_dtype()) for name, view in views.items()}
    for name, entry in entries.items():
        if entry.dtype not in BITS:
            raise BuildError(
                f"{file}: tensor '{clip(name)}': the dtype {entry.dtype} is not supported; use another version of the "
                "checkpoint"
            )
    return entries


def _open(file: Path) -> safe_open:
    try:
        return safe_open(file, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise BuildError(f"{file}: not a usable safetensors file: {error}; download it again") from None
