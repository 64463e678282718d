"""Shards: the index that maps tensor names to the files of one folder, and the headers of those files as one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from archc.archspec.errors import clip
from archc.compiler.errors import BuildError

_MAX_INDEX_BYTES = 64 * 2**20


class Entry(Protocol):
    """A tensor of a file's header."""

    @property
    def file(self) -> Path:
        """The file that holds the tensor."""


EntryT = TypeVar("EntryT", bound=Entry)
Header = Callable[[Path], Mapping[str, EntryT]]
"""Reads the header of a file: its tensors by name."""


def read_shards(index: Path, endings: tuple[str, ...], header: Header[EntryT]) -> dict[str, EntryT]:
    """Return the tensors of all shards of an index by name.

    Raises BuildError if a shard is missing, or if shards and index contradict each other.
    """
    table = _index_table(index, endings)
    entries = read_headers((_shard(index, name) for name in sorted(set(table.values()))), header)
    for name, shard in table.items():
        if name not in entries or entries[name].file.name != shard:
            raise BuildError(
                f"{index}: the index maps tensor '{clip(name)}' to '{clip(shard)}', but that shard does not "
                "contain it; download the whole folder again"
            )
    extra = next((name for name in entries if name not in table), None)
    if extra is not None:
        raise BuildError(
            f"{index}: tensor '{clip(extra)}' of '{entries[extra].file.name}' is not in the index; "
            "download the whole folder again"
        )
    return entries


def read_headers(files: Iterable[Path], header: Header[EntryT]) -> dict[str, EntryT]:
    """Return the tensors of several files by name. Raises BuildError if two files have the same tensor."""
    entries: dict[str, EntryT] = {}
    for file in files:
        for name, entry in header(file).items():
            if name in entries:
                raise BuildError(
                    f"tensor '{clip(name)}' is in both {entries[name].file} and {file}; "
                    "use shards of a single checkpoint"
                )
            entries[name] = entry
    return entries


def _shard(index: Path, name: str) -> Path:
    file = index.parent / name
    if not file.is_file():
        raise BuildError(f"{index}: shard '{clip(name)}' not found; download it, or the whole folder")
    return file


def _index_table(index: Path, endings: tuple[str, ...]) -> Mapping[str, str]:
    """Return weight_map of a shard index. Raises BuildError for a file name that leads out of the folder."""
    if index.stat().st_size > _MAX_INDEX_BYTES:
        raise BuildError(f"{index}: larger than {_MAX_INDEX_BYTES} bytes, which no shard index is; download it again")
    try:
        table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BuildError(f"{index}: not a shard index with a weight_map: {error!r}; download it again") from None
    if not isinstance(table, dict) or not table or not all(isinstance(shard, str) for shard in table.values()):
        raise BuildError(f"{index}: weight_map does not map tensor names to file names; download it again")
    for shard in table.values():
        if PurePosixPath(shard).name != shard or "\\" in shard or not shard.endswith(endings):
            raise BuildError(
                f"{index}: '{clip(shard)}' is not the name of a {' or '.join(endings)} file in the same folder; "
                "correct it"
            )
    return table
