"""Weights in the containers, shards, dtypes and packings of official repositories."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from archc.proof.case import Reference
from archc.proof.from_transformers import FromTransformers

Tensors = dict[str, Tensor]
Pack = Callable[[str, Tensor], tuple[Tensors, Tensor] | None]
"""From a tensor's name and value: the stored tensors and the widened weight; None for a tensor that stays."""

_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


@dataclass(frozen=True)
class Stored:
    """The form of a checkpoint's weights. `single` is the file's name if it is the only one."""

    single: str = "model.safetensors"
    dtype: torch.dtype = torch.bfloat16
    shards: int = 1
    packing: str | None = None
    pack: Pack | None = None
    quantization_config: Mapping[str, Any] | None = None
    #: Names of the published files where they differ from those of today's transformers.
    rename: Callable[[str], str] = lambda name: name

    @property
    def label(self) -> str:
        """The form in words."""
        shards = ", shards" if self.shards > 1 else ""
        return f"`{Path(self.single).suffix}`{shards}, {_NAMES[self.dtype]}"

    def write(self, folder: Path, tensors: Tensors) -> None:
        """Write one file, or shards with an index."""
        if self.shards == 1:
            self._save(tensors, folder / self.single)
            return
        stem, suffix = self.single.rsplit(".", 1)
        names, weight_map = list(tensors), {}
        for index in range(self.shards):
            file = f"{stem}-{index + 1:05}-of-{self.shards:05}.{suffix}"
            part = names[index * len(names) // self.shards : (index + 1) * len(names) // self.shards]
            self._save({name: tensors[name] for name in part}, folder / file)
            weight_map |= dict.fromkeys(part, file)
        total = sum(value.nbytes for value in tensors.values())
        index_file = folder / f"{self.single}.index.json"
        index_file.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}), "utf-8")

    def _save(self, tensors: Tensors, file: Path) -> None:
        if file.suffix == ".safetensors":
            save_file({name: value.contiguous() for name, value in tensors.items()}, file, {"format": "pt"})
        elif file.suffix == ".pt":
            torch.save({"model": tensors, "optimizer": {"state": {}, "param_groups": []}, "iteration": 7}, file)
        else:
            torch.save(tensors, file)


def tensors_of(reference: Reference, stored: Stored, folder: Path) -> tuple[Tensors, Reference]:
    """Return the tensors to store, and the reference that computes with the numbers that they hold."""
    _round(reference, stored.dtype)
    reference.save(folder / "saved")
    tensors = {
        name: value for file in (folder / "saved").glob("*.safetensors") for name, value in load_file(file).items()
    }
    if stored.pack is not None:
        assert isinstance(reference, FromTransformers)
        tensors, reference = _packed(reference, tensors, stored, folder / "saved")
        return tensors, reference
    return {stored.rename(name): _cast(value, stored.dtype) for name, value in tensors.items()}, reference


def _round(reference: Reference, dtype: torch.dtype) -> None:
    """Round a reference's weights to those that a dtype has."""
    model = getattr(reference, "model", None)
    values = model.state_dict() if model is not None else getattr(reference, "weights", {})
    for value in values.values():
        if value.is_floating_point():
            value.copy_(value.to(dtype).float())


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.dtype == torch.float32 else value


def _packed(reference: FromTransformers, tensors: Tensors, stored: Stored, folder: Path) -> tuple[Tensors, Reference]:
    """Return the packed tensors, and transformers' class with the widened ones."""
    assert stored.pack is not None
    widened, result = dict(tensors), Tensors()
    for name, value in tensors.items():
        packed = stored.pack(name, value)
        if packed is None:
            result[name] = _cast(value, stored.dtype)
        else:
            result |= packed[0]
            widened[name] = packed[1].contiguous()
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    save_file(widened, folder / "model.safetensors", {"format": "pt"})
    model = getattr(transformers, type(reference.model).__name__)
    loaded = model.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return result, FromTransformers(loaded)
