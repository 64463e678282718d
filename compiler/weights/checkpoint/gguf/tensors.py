"""The tensors of a GGUF file under the names and in the order of the hub's form."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archc.archspec.errors import clip
from archc.compiler.errors import BuildError
from archc.compiler.files.gguf_header import GgufTensor
from archc.compiler.files.gguf_parts import read_gguf
from archc.compiler.weights.checkpoint.gguf.architecture import Architecture
from archc.compiler.weights.checkpoint.gguf.description import TensorRule
from archc.compiler.weights.checkpoint.gguf.stored import PLAIN, StoredTensor
from archc.compiler.weights.checkpoint.weights import Place, check_float, check_place, stored_bytes

_MAX_INDICES = 2**12


@dataclass(frozen=True)
class _HubTensor:
    """A tensor of the hub's form: one of the file, or several that are alternating columns of it, and their rule."""

    parts: tuple[StoredTensor, ...]
    rule: TensorRule

    @property
    def shape(self) -> tuple[int, ...]:
        shape = list(self.parts[0].shape)
        if self._is_transposed:
            shape[-2:] = shape[:-3:-1]
        shape[-1] *= len(self.parts)
        return (1, *shape) if self._is_row else tuple(shape)

    @property
    def dtype(self) -> str:
        return "F32" if self.rule.offset or len(self.parts) > 1 else self.parts[0].dtype

    @property
    def _is_transposed(self) -> bool:
        return self.rule.transposed and len(self.parts[0].shape) > 1

    @property
    def _is_row(self) -> bool:
        return self.rule.row and len(self.parts[0].shape) == 1

    def read(self, place: Place) -> Tensor:
        """Return the part at a place; only rows that it consists of are read, of a transposed matrix all."""
        if self._is_row:
            return self._read(()).unsqueeze(0)[place]
        return self._read(place)

    def _read(self, place: Place) -> Tensor:
        axes = len(self.parts[0].shape) - (2 if self._is_transposed else 1 if len(self.parts) > 1 else 0)
        own, rest = place[:axes], place[axes:]
        values = [part.read(own) for part in self.parts]
        if self._is_transposed:
            values = [value.transpose(-1, -2) for value in values]
        value = values[0]
        if len(values) > 1:
            value = torch.stack([each.float() for each in values], -1).flatten(-2)
        if self.rule.offset:
            value = value.float() + self.rule.offset
        return value[(*(slice(None) for at in own if isinstance(at, slice)), *rest)] if rest else value


class GgufWeights:
    """The tensors of a GGUF file, of all its parts if it has several; quantized ones are float32 where they are read.

    Raises BuildError if the file's architecture or a quantization is not supported, or if a tensor is out of bounds.
    """

    def __init__(self, path: Path) -> None:
        file = read_gguf(path)
        self._path = file.path
        self._gguf = import_gguf(path)
        architecture = Architecture(file)
        columns: dict[str, dict[int, tuple[StoredTensor, TensorRule]]] = {}
        for name, tensor in file.tensors.items():
            if architecture.is_setting(name):
                continue
            rule = architecture.rule(name)
            for hub_name, stored in self._stored(name, tensor, rule, architecture):
                others = columns.setdefault(hub_name, {})
                if (rule.column or 0) in others:
                    raise BuildError(
                        f"{tensor.path}: tensor '{clip(name)}' appears twice as '{hub_name}'; download it again"
                    )
                others[rule.column or 0] = (stored, rule)
        self._tensors = {name: self._joined(name, parts) for name, parts in columns.items()}

    def names(self) -> Collection[str]:
        """Return the names of all tensors in the hub's form."""
        return self._tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self._tensors[name].shape

    def dtype(self, name: str) -> str:
        """Return the dtype in which a tensor is read: F32 for a quantized one."""
        return self._tensors[name].dtype

    def bytes(self, name: str) -> int:
        """Return the size of a tensor in bytes in the dtype in which it is read."""
        return stored_bytes(self.dtype(name), self.shape(name))

    def check_numbers(self, names: Iterable[str]) -> None:
        """Raise BuildError if one of these tensors has a dtype that no weight may have."""
        for name in names:
            check_float(self._path, name, self.dtype(name))

    def read(self, name: str, place: Place = ()) -> Tensor:
        """Return a tensor, or its part at a place along its first axes; only the rows of the part are read.

        Raises BuildError for a file that cannot be read, and ValueError for a place out of bounds.
        """
        tensor = self._tensors[name]
        check_place(place, tensor.shape)
        try:
            return tensor.read(place)
        except OSError as error:
            path = tensor.parts[0].tensor.path
            raise BuildError(f"{path}: tensor '{clip(name)}' cannot be read: {error}; build again") from None

    def _joined(self, name: str, parts: dict[int, tuple[StoredTensor, TensorRule]]) -> _HubTensor:
        """Return a tensor of the hub from its columns. Raises BuildError if one is missing, or if they do not fit."""
        ordered = [parts[column] for column in sorted(parts)]
        rule = ordered[0][1]
        if rule.column is not None and (len(parts) < 2 or len({part.shape for part, _ in ordered}) > 1):
            raise BuildError(
                f"{self._path}: '{clip(name)}' consists of two tensors of one shape, of which there is "
                f"{', '.join(str(list(part.shape)) for part, _ in ordered)}; download it again"
            )
        return _HubTensor(tuple(part for part, _ in ordered), rule)

    def _stored(
        self, name: str, tensor: GgufTensor, rule: TensorRule, architecture: Architecture
    ) -> Iterator[tuple[str, StoredTensor]]:
        """Yield the tensors of the hub's form that a tensor of the file holds. Raises BuildError if it is damaged."""
        try:
            kind = self._gguf.GGMLQuantizationType(tensor.type)
        except ValueError:
            raise self._unsupported(name, tensor, f"type {tensor.type}") from None
        block, block_bytes = self._gguf.GGML_QUANT_SIZES[kind]
        if kind.name not in PLAIN and not hasattr(self._gguf.quants, kind.name):
            raise self._unsupported(name, tensor, kind.name)
        size = math.prod(tensor.shape) // block * block_bytes
        indices = tensor.shape[0] if rule.per_index and tensor.shape else 0
        if math.prod(tensor.shape) == 0 or indices > _MAX_INDICES or (rule.per_index and len(tensor.shape) < 2):
            raise BuildError(
                f"{tensor.path}: tensor '{clip(name)}' has the shape {list(tensor.shape)}; download it again"
            )
        if not tensor.shape or tensor.shape[-1] % block or tensor.start + size > tensor.stamp[0]:
            raise BuildError(
                f"{tensor.path}: tensor '{clip(name)}' {list(tensor.shape)} of {kind.name} is not within the file; "
                "download it again"
            )
        stored = StoredTensor(tensor, kind, block, block_bytes, architecture.row_order(name, rule, tensor.shape[0]))
        if not rule.per_index:
            yield rule.name, stored
            return
        for index in range(indices):
            yield rule.name_at(index), replace(stored, index=index)

    def _unsupported(self, name: str, tensor: GgufTensor, kind: str) -> BuildError:
        return BuildError(
            f"{tensor.path}: tensor '{clip(name)}': the GGML type {kind} is not supported; "
            "use a file in F16, BF16, Q8_0, Q4_K or Q6_K"
        )


def import_gguf(path: Path) -> Any:
    """Return the package gguf. Raises BuildError if it is not installed."""
    try:
        import gguf
        import gguf.quants
    except ImportError:
        raise BuildError(
            f"{path}: the package gguf is missing, which dequantizes GGUF files; pip install 'archc-compiler[gguf]'"
        ) from None
    return gguf


def gguf_config(path: Path) -> dict[str, Any]:
    """Return the config.json that a GGUF file amounts to. Raises BuildError if its architecture is not supported."""
    return Architecture(read_gguf(path)).config
