"""Writing the output of a build: graphs, streamed weights, tokenizer files, manifest."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from archc.compiler.errors import BuildError
from archc.compiler.output.folder_writer import FolderWriter
from archc.compiler.output.weights_file import WEIGHTS, Listener, Stored, stream_weights, total_bytes
from archc.compiler.weights.slots import Slots
from archc.plan import Manifest, PlanError, PlanWriter
from archc.plan.ownership import check_folder_path, check_plan_path

MODEL = "model.onnx"
_MANIFEST_ROOM = 2**20


@dataclass(frozen=True)
class Content:
    """The content of a plan or folder next to its manifest: serialized graphs, weights and their source, files."""

    graphs: Mapping[str, bytes]
    stored: list[Stored]
    slots: Slots
    files: Mapping[str, bytes]

    @property
    def bytes(self) -> int:
        """The approximate size of the plan in bytes."""
        return total_bytes(self.stored) + sum(map(len, (*self.graphs.values(), *self.files.values()))) + _MANIFEST_ROOM


def serialize(model: ir.Model) -> bytes:
    """Return a graph as the bytes of its file, without its weights."""
    return ir.serde.serialize_model(model).SerializeToString()


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


def write_plan(path: Path, content: Content, manifest: Manifest, listener: Listener) -> Path:
    """Write an engine.plan; after any error an older plan is unchanged."""
    with PlanWriter(path) as writer:
        _write(writer, content, listener, "tokenizer/")
        return writer.finish(manifest)


def write_folder(path: Path, content: Content, manifest: Manifest, listener: Listener) -> Path:
    """Write an ONNX folder; after any error an older folder is unchanged."""
    with FolderWriter(path) as writer:
        _write(writer, content, listener, "")
        return writer.finish(manifest)


def _write(writer: PlanWriter | FolderWriter, content: Content, listener: Listener, tokenizer: str) -> None:
    """Write graphs, weights and files, their names prefixed with `tokenizer`."""
    for name, graph in content.graphs.items():
        writer.add(name, graph)
    with writer.stream(WEIGHTS) as sink:
        stream_weights(content.stored, content.slots, sink, listener)
    for name, data in content.files.items():
        writer.add(f"{tokenizer}{name}", data)


def fill_folder(folder: Path, content: Content, listener: Listener) -> None:
    """Write graphs and weights into a folder, for an engine builder to read."""
    for name, graph in content.graphs.items():
        (folder / name).write_bytes(graph)
    with (folder / WEIGHTS).open("wb") as sink:
        stream_weights(content.stored, content.slots, sink, listener)
