"""Writing the output of a build: graphs, streamed weights, tokenizer files, manifest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import onnx_ir as ir
import torch
from msgspec import convert

from archc.compiler.contract.inputs_outputs import DTYPES
from archc.compiler.errors import BuildError
from archc.compiler.output.folder_writer import FolderWriter
from archc.compiler.weights.checkpoint.names import SlotReader
from archc.compiler.weights.checkpoint.reader import RandomWeights
from archc.compiler.weights.lazy import WeightTensor, join_rows
from archc.plan import Manifest, PlanError, PlanWriter, Tensor
from archc.plan.ownership import check_folder_path, check_plan_path

WEIGHTS = "weights.bin"
MODEL = "model.onnx"
# Tensors start at multiples of this: a memory page for large ones, so that mapping touches no neighbour.
_ALIGNMENT, _PAGE, _LARGE = 64, 4096, 65536
_MANIFEST_ROOM = 2**20
_ROWS = 4096  # of a tensor at a time, where it is read again to say what is wrong with it
_IR_DTYPES = {
    "float32": ir.DataType.FLOAT,
    "float16": ir.DataType.FLOAT16,
    "bfloat16": ir.DataType.BFLOAT16,
    "uint8": ir.DataType.UINT8,
    "int8": ir.DataType.INT8,
    "int4": ir.DataType.INT4,
    "float8e4m3fn": ir.DataType.FLOAT8E4M3FN,
}
_TORCH_DTYPES = {**DTYPES, "uint8": torch.uint8, "int8": torch.int8, "int4": torch.uint8, "float8e4m3fn": torch.uint8}

Slots = SlotReader | RandomWeights
Progress = Callable[[str, int, int], None]
"""Called with the tensor at work, the bytes written so far, and the bytes to write in all."""


class Sink(Protocol):
    """Where bytes go, in order."""

    def write(self, data: memoryview, /) -> int:
        """Appends bytes."""


@dataclass(frozen=True)
class Stored:
    """One weight's place in weights.bin."""

    weight: WeightTensor
    tensor: Tensor


@dataclass(frozen=True)
class Content:
    """All that goes into a plan: graphs as bytes, weights with where they come from, the tokenizer's files."""

    graphs: Mapping[str, bytes]
    stored: list[Stored]
    slots: Slots
    files: Mapping[str, bytes]
    manifest: Manifest

    @property
    def bytes(self) -> int:
        """About how many bytes a plan of it has."""
        return total_bytes(self.stored) + sum(map(len, (*self.graphs.values(), *self.files.values()))) + _MANIFEST_ROOM


@dataclass(frozen=True)
class Listener:
    """What is told while a plan is written: how far it is, and what a user should know of the weights."""

    progress: Progress = lambda name, done, total: None
    warn: Callable[[str], None] = lambda message: None


def place_weights(*models: ir.Model) -> list[Stored]:
    """Gives every weight of the graphs its place, and makes its initializers point there; equal ones share it."""
    stored, end = list[Stored](), 0
    places: dict[str, ir.ExternalTensor] = {}
    # What is made of the same slots lies together, so that what was found while one is written need not be kept long.
    groups: dict[tuple[str, ...], list[tuple[ir.Value, WeightTensor]]] = {}
    for value in (value for model in models for value in model.graph.initializers.values()):
        if isinstance(weight := value.const_value, WeightTensor):
            groups.setdefault(weight.slots, []).append((value, weight))
    for value, weight in (found for group in groups.values() for found in group):
        if value.name in places:
            value.const_value = places[value.name]
            continue
        size = int(weight.nbytes)
        boundary = _PAGE if size >= _LARGE else _ALIGNMENT
        offset = -(-end // boundary) * boundary
        shape = tuple(int(axis) for axis in weight.shape)
        assert value.name is not None
        value.const_value = places[value.name] = ir.ExternalTensor(
            WEIGHTS, offset, size, weight.dtype, shape=ir.Shape(shape), name=value.name, base_dir=""
        )
        dtype = next(name for name, kind in _IR_DTYPES.items() if kind == weight.dtype)
        tensor = {"name": value.name, "shape": shape, "dtype": dtype, "offset": offset, "bytes": size}
        stored.append(Stored(weight, convert(tensor, Tensor)))
        end = offset + size
    return stored


def total_bytes(stored: list[Stored]) -> int:
    """The size of weights.bin."""
    return stored[-1].tensor.offset + stored[-1].tensor.bytes if stored else 0


def serialize(model: ir.Model) -> bytes:
    """The bytes of a graph's file, its weights left outside."""
    return ir.serde.serialize_model(model).SerializeToString()


def stream_weights(content: Content, sink: Sink, listener: Listener) -> None:
    """Writes every weight at its place, reading one at a time. Raises BuildError for a number that the dtype lacks."""
    position, total = 0, total_bytes(content.stored)
    for item in content.stored:
        listener.progress(item.tensor.name, position, total)
        sink.write(memoryview(bytes(item.tensor.offset - position)))
        position = item.tensor.offset
        for part in item.weight.in_parts():
            for data in _numbers(part, item.tensor.dtype, content.slots, listener):
                position += sink.write(data)
    listener.progress("", total, total)


def _numbers(weight: WeightTensor, name: str, slots: Slots, listener: Listener) -> Iterator[memoryview]:
    source = join_rows([slots.open(slot) for slot in weight.slots])
    dtype = _TORCH_DTYPES[name]
    finite = True
    for block in weight.blocks(source, dtype):
        finite = finite and _all_finite(block)
        # Flat first: of a single row or column, torch keeps a stride that no other dtype can be seen through.
        yield block.reshape(-1).view(torch.uint8).numpy().data
    if finite:
        return
    if all(bool(torch.isfinite(rows).all()) for rows in source.split(_ROWS)):
        largest = max(float(rows.float().abs().max()) for rows in source.split(_ROWS))
        raise BuildError(f"{weight.slot}: holds {largest:g}, which {name} cannot: build with --dtype float32")
    listener.warn(f"{weight.slot}: the checkpoint holds NaN or infinite numbers here")


def _all_finite(block: torch.Tensor) -> bool:
    """Whether no number is infinite or none at all: their sum says so, read once, unless it overflows by itself."""
    return bool(block.sum(dtype=torch.float32).isfinite()) or bool(torch.isfinite(block).all())


def check_destination(path: Path, folder: bool, inputs: Iterable[str | Path | None] = ()) -> None:
    """Raise BuildError if a plan, or a folder, must not be written to a path; `inputs` are what the build reads.

    An existing path is replaced only if archc wrote it; see `archc.plan.ownership`.
    """
    read = [Path(item) for item in inputs if item is not None and Path(item).exists()]
    try:
        (check_folder_path if folder else check_plan_path)(path, read)
    except PlanError as error:
        raise BuildError(str(error)) from None


def check_space(path: Path, needed: int) -> None:
    """Raise BuildError if the disk has less free space than a build needs."""
    free = shutil.disk_usage(path.absolute().parent).free
    if needed > free:
        raise BuildError(
            f"{path}: {needed:,} bytes are required and {free:,} are free; "
            "free some space, or name a path on another disk with -o"
        )


def write_plan(path: Path, content: Content, listener: Listener) -> Path:
    """Write an engine.plan; after any error an older plan is unchanged."""
    with PlanWriter(path) as writer:
        return _write(writer, content, listener, "tokenizer/")


def write_folder(path: Path, content: Content, listener: Listener) -> Path:
    """Write an ONNX folder; after any error an older folder is unchanged."""
    with FolderWriter(path) as writer:
        return _write(writer, content, listener, "")


def _write(writer: PlanWriter | FolderWriter, content: Content, listener: Listener, tokenizer: str) -> Path:
    """Write graphs, weights, tokenizer files (their names prefixed with `tokenizer`) and the manifest."""
    for name, graph in content.graphs.items():
        writer.add(name, graph)
    with writer.stream(WEIGHTS) as sink:
        stream_weights(content, sink, listener)
    for name, data in content.files.items():
        writer.add(f"{tokenizer}{name}", data)
    return writer.finish(content.manifest)


def fill_folder(folder: Path, content: Content, listener: Listener) -> None:
    """Write graphs and weights into a folder, for an engine builder to read."""
    for name, graph in content.graphs.items():
        (folder / name).write_bytes(graph)
    with (folder / WEIGHTS).open("wb") as sink:
        stream_weights(content, sink, listener)
