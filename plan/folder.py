"""ONNX folders that archc wrote, read like a plan: the entries are files, and the manifest is archc.json."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace

from archc.plan.archive import Span, check_name
from archc.plan.errors import PlanError
from archc.plan.manifest import Manifest, parse_manifest
from archc.plan.ownership import LISTING
from archc.plan.reader import ENCODER, MODEL, WEIGHTS, Plan, check_entries, check_tensors, not_opened, open_regular

ONNX, OPTIMUM = "onnx", "onnx-hf"
"""Targets whose builds are folders: the portable graph, and the layout of Optimum."""
OPTIMUM_ENCODER, OPTIMUM_DECODER = "encoder_model.onnx", "decoder_model_merged.onnx"
_TOKENIZER = "tokenizer/"
_MANIFEST_LIMIT = 64 << 20


def open_plan(path: str | os.PathLike[str]) -> Plan:
    """Return the open plan at a path: a plan file, or a folder of the targets `onnx` and `onnx-hf`."""
    return FolderPlan(path) if Path(path).is_dir() else Plan(path)


class FolderPlan(Plan):
    """An open ONNX folder; its graphs have the names that they have in a plan, and so have the tokenizer's files.

    Raises PlanError for another folder, and for files that are missing or deviate from the manifest.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.realpath(path))
        manifest = _read_manifest(self.path, os.fspath(path))
        files = {_entry_name(name, manifest, self.path): name for name in manifest.entries}
        self.manifest = replace(manifest, entries={name: manifest.entries[file] for name, file in files.items()})
        # ONNX Runtime reads no weights outside of the graph's folder, so links are resolved.
        self._weights = Path(os.path.realpath(self.path / WEIGHTS))
        with ExitStack() as stack:
            try:
                self._sources = {
                    name: stack.enter_context(open_regular(self.path / file)) for name, file in files.items()
                }
                sizes = {name: os.fstat(source.fileno()).st_size for name, source in self._sources.items()}
            except (OSError, ValueError) as error:
                raise not_opened(getattr(error, "filename", None) or path, error) from None
            if WEIGHTS not in files:
                raise PlanError(f"{self.path}: {LISTING} lists no {WEIGHTS}; build the folder again")
            self._spans = {name: Span(name, 0, size, 0) for name, size in sizes.items()}
            check_entries(self.manifest, sizes, str(self.path))
            check_tensors(self.manifest, sizes, str(self.path))
            self._open(self._sources[WEIGHTS])
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    @property
    def weights(self) -> tuple[Path, int]:
        """The file with the weights, and their offset in it in bytes."""
        return self._weights, 0

    def _source(self, name: str) -> BinaryIO:
        """Return the open file of an entry."""
        return self._sources[name]


def _read_manifest(folder: Path, path: str) -> Manifest:
    """Return the manifest of a folder; raise PlanError for one that is none of archc's."""
    file = folder / LISTING
    try:
        with open_regular(file) as source:
            if os.fstat(source.fileno()).st_size > _MANIFEST_LIMIT:
                raise PlanError(f"{file}: expected at most {_MANIFEST_LIMIT} bytes; build the folder again")
            manifest = parse_manifest(source.read(), str(file))
    except FileNotFoundError:
        raise PlanError(
            f"{path}: expected a plan file, or a folder of --target {ONNX} or {OPTIMUM}, got a folder without "
            f"{LISTING}; build one with archc build"
        ) from None
    except OSError as error:
        raise not_opened(file, error) from None
    if manifest.target not in (ONNX, OPTIMUM):
        raise PlanError(f"{file}: expected target {ONNX} or {OPTIMUM}, got {manifest.target!r:.60}; build it again")
    return manifest


def _entry_name(file: str, manifest: Manifest, folder: Path) -> str:
    """Return the name that a file of a folder has in a plan."""
    if problem := check_name(file):
        raise PlanError(f"{folder}: the file name {file!r:.200} of {LISTING} {problem}; build the folder again")
    graphs = {MODEL: MODEL, ENCODER: ENCODER}
    if manifest.target == OPTIMUM and manifest.encoder is not None:
        graphs = {OPTIMUM_DECODER: MODEL, OPTIMUM_ENCODER: ENCODER}
    return WEIGHTS if file == WEIGHTS else graphs.get(file, f"{_TOKENIZER}{file}")
