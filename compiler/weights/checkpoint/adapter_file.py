"""The tensors of an adapter folder: adapter_model.safetensors."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from archc.compiler.errors import BuildError

FILE = "adapter_model.safetensors"
_DTYPES = ("F64", "F32", "F16", "BF16")


class AdapterFile:
    """The tensors of an adapter by name. Raises BuildError for a missing or damaged file, or a dtype of integers."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        if not self.path.is_file():
            found = ", only adapter_model.bin" if (folder / "adapter_model.bin").is_file() else ""
            raise BuildError(f"{folder}: {FILE} not found{found}; save the adapter as safetensors")
        try:
            self._handle = safe_open(self.path, framework="pt", device="cpu")
            names = list(self._handle.keys())
            views = {name: self._handle.get_slice(name) for name in names}
            self._shapes = {name: tuple(view.get_shape()) for name, view in views.items()}
            dtypes = {name: view.get_dtype() for name, view in views.items()}
        except (SafetensorError, OSError) as error:
            raise BuildError(f"{self.path}: not a usable safetensors file: {error}; download it again") from None
        if not self._shapes:
            raise BuildError(f"{self.path}: has no tensors; save the adapter again")
        for name, dtype in dtypes.items():
            if dtype not in _DTYPES:
                raise BuildError(
                    f"{self.path}: tensor '{name:.120}' has dtype {dtype}, expected one of {', '.join(_DTYPES)}; "
                    "save the adapter again"
                )

    def names(self) -> Collection[str]:
        """Return the names of all tensors."""
        return self._shapes.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self._shapes[name]

    def read(self, name: str) -> Tensor:
        """Return a tensor in its stored dtype."""
        try:
            value: Tensor = self._handle.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise BuildError(f"{self.path}: tensor '{name:.120}' cannot be read: {error}") from None
        return value
