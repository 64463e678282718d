"""Writes what a build made: the graph, the weights as they stream by, and the files that text needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from archc.compiler.errors import BuildError
from archc.compiler.output.weights_file import WEIGHTS, Listener, Stored, stream_weights, total_bytes
from archc.compiler.weights.slots import Slots
from archc.plan import Manifest, PlanWriter
from archc.plan.manifest import encode_manifest

MODEL = "model.onnx"
_MANIFEST_ROOM = 2**20


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


def serialize(model: ir.Model) -> bytes:
    """The bytes of a graph's file, its weights left outside."""
    return ir.serde.serialize_model(model).SerializeToString()


def check_place(path: Path, folder: bool) -> None:
    """Raises BuildError where a plan, or an ONNX folder, cannot be put at a path: before any work is done."""
    if not path.absolute().parent.is_dir():
        raise BuildError(f"{path}: its folder does not exist; make it first")
    if not folder and path.is_dir():
        raise BuildError(f"{path}: there is a folder of that name; give a file name with -o")
    if folder and path.exists() and not (path / MODEL).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise BuildError(f"{path}: is there already and is not an ONNX folder: name another with -o")


def check_space(path: Path, needed: int) -> None:
    """Raises BuildError where the disk has less room than a build will write."""
    free = shutil.disk_usage(path.absolute().parent).free
    if needed > free:
        raise BuildError(
            f"{path}: {needed:,} bytes are needed and {free:,} are free: make room, or name another disk with -o"
        )


def write_plan(path: Path, content: Content, listener: Listener) -> Path:
    """Writes an engine.plan; on any failure the old file, if there was one, stays."""
    with PlanWriter(path) as writer:
        for name, graph in content.graphs.items():
            writer.add(name, graph)
        with writer.stream(WEIGHTS) as sink:
            stream_weights(content.stored, content.slots, sink, listener)
        for name, data in content.files.items():
            writer.add(f"tokenizer/{name}", data)
        return writer.finish(content.manifest)


def write_folder(path: Path, content: Content, listener: Listener) -> Path:
    """Writes a plain ONNX folder, whole or not at all; see `check_place` for what it may replace."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir()
        fill_folder(temporary, content, listener)
        with (temporary / WEIGHTS).open("rb") as weights:
            os.fsync(weights.fileno())
        (temporary / "manifest.json").write_bytes(encode_manifest(content.manifest))
        for name, data in content.files.items():
            (temporary / name).write_bytes(data)
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    except OSError as error:
        raise BuildError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)
    return path


def fill_folder(folder: Path, content: Content, listener: Listener) -> None:
    """Writes graphs and weights into a folder."""
    for name, graph in content.graphs.items():
        (folder / name).write_bytes(graph)
    with (folder / WEIGHTS).open("wb") as sink:
        stream_weights(content.stored, content.slots, sink, listener)
