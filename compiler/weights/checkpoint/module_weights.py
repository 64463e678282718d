"""Weights of the modules of sentence-transformers, whose folders are below that of the checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from torch import Tensor

from archc.archspec import BoundSpec
from archc.archspec.vocabulary import DenseLayer, Pooling
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights
from archc.compiler.weights.checkpoint.sentence_modules import MODULES, read_modules
from archc.compiler.weights.checkpoint.weights import Place, Weights
from archc.compiler.weights.packings.detect import unpack

# The projection's module, and its name in the files of a Dense module.
_SLOT, _MODULE = "pooler.dense", "linear"


class JoinedModules:
    """A checkpoint's tensors, and those of one module with its path before their names: `2_Dense.linear.bias`."""

    def __init__(self, base: Weights, module: Weights, prefix: str) -> None:
        self._base, self._module, self._prefix = base, module, prefix
        self._own = {prefix + name: name for name in module.names()}

    def names(self) -> Collection[str]:
        """Return the names of all tensors."""
        return (*self._base.names(), *self._own)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        weights, name = self._find(name)
        return weights.shape(name)

    def dtype(self, name: str) -> str:
        """Return the dtype of a tensor by its name in safetensors."""
        weights, name = self._find(name)
        return weights.dtype(name)

    def bytes(self, name: str) -> int:
        """Return the size of a tensor in bytes, as stored."""
        weights, name = self._find(name)
        return weights.bytes(name)

    def check_numbers(self, names: Iterable[str]) -> None:
        """Raise BuildError if one of these tensors has a dtype that no weight may have."""
        names = list(names)
        self._base.check_numbers(name for name in names if name not in self._own)
        self._module.check_numbers(self._own[name] for name in names if name in self._own)

    def read(self, name: str, place: Place = ()) -> Tensor:
        """Return a tensor, or its part at a place along its first axes."""
        weights, name = self._find(name)
        return weights.read(name, place)

    def _find(self, name: str) -> tuple[Weights, str]:
        return (self._module, self._own[name]) if name in self._own else (self._base, name)


def open_checkpoint(spec: BoundSpec, folder: Path) -> Weights:
    """Return the tensors of a checkpoint, widened if they are packed, with those of the projections after pooling.

    Raises BuildError for damaged files.
    """
    weights: Weights = open_weights(folder)
    for _, _, path in _find_dense(spec, folder):
        weights = JoinedModules(weights, open_weights(folder / path), f"{path}.")
    return unpack(weights, folder)


def module_sources(spec: BoundSpec, folder: Path, names: Collection[str]) -> dict[str, str]:
    """Return the tensor of each slot that a module's folder fills. Raises BuildError if one is not there."""
    sources: dict[str, str] = {}
    for slot, dense, path in _find_dense(spec, folder):
        parts = ("weight", "bias") if dense.bias else ("weight",)
        sources |= {f"{slot}.{part}": f"{path}.{_MODULE}.{part}" for part in parts}
    for name in sources.values():
        if name not in names:
            raise BuildError(f"{folder}: tensor '{name:.120}' not found; download the folder again")
    return sources


def _find_dense(spec: BoundSpec, folder: Path) -> list[tuple[str, DenseLayer, str]]:
    """Return the slot of each projection of a spec, its word, and its module's folder; none without modules.json."""
    dense = spec.pooler.dense if isinstance(spec.pooler, Pooling) else None
    if dense is None or not (folder / MODULES).is_file():
        return []
    paths = [path for name, path in read_modules(folder) if name == "Dense"]
    layers = [(_SLOT, dense), *([(f"{_SLOT}.then", dense.then)] if dense.then is not None else [])]
    return [(slot, layer, path) for (slot, layer), path in zip(layers, paths, strict=False)]
