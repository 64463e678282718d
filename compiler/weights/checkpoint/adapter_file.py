"""The tensors of an adapter folder: adapter_model.safetensors, or adapter_model.bin of former versions of PEFT."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from torch import Tensor

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.pickled.tensors import PickledWeights, read_pickled
from archc.compiler.weights.checkpoint.safetensors import SafetensorsWeights, read_safetensors
from archc.compiler.weights.checkpoint.weights import Weights

FILES = ("adapter_model.safetensors", "adapter_model.bin")


class AdapterFile:
    """The tensors of an adapter by name. Raises BuildError for a missing or damaged file, or a dtype of integers."""

    def __init__(self, folder: Path) -> None:
        safetensors, pickled = (folder / name for name in FILES)
        self._weights: Weights
        if safetensors.is_file():
            self._weights = SafetensorsWeights(read_safetensors(safetensors))
        elif pickled.is_file():
            self._weights = PickledWeights(read_pickled(pickled))
        else:
            raise BuildError(f"{folder}: {' or '.join(FILES)} not found; save the adapter again, or download all of it")
        if not self.names():
            raise BuildError(f"{folder}: the adapter has no tensors; save it again")
        self._weights.check_numbers(self.names())

    def names(self) -> Collection[str]:
        """Return the names of all tensors."""
        return self._weights.names()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self._weights.shape(name)

    def read(self, name: str) -> Tensor:
        """Return a tensor in its stored dtype."""
        return self._weights.read(name)
