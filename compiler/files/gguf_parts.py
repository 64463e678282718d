"""GGUF files in parts, `NAME-00001-of-00003.gguf` …: the settings of the first one, and the tensors of all."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from archc.archspec.errors import clip
from archc.compiler.errors import BuildError
from archc.compiler.files.gguf_header import GgufFile, GgufTensor, read_header
from archc.compiler.files.stamp import file_stamp

_PART = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_MAX_PARTS = 2**12


def part_names(name: str) -> list[str]:
    """Return the names of all parts of the file of which a name is a part; the name alone if it is no part's."""
    match = _PART.fullmatch(name)
    count = int(match["count"]) if match else 1
    if match is None or not 1 < count <= _MAX_PARTS:
        return [name]
    return [f"{match['name']}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]


def read_gguf(path: Path) -> GgufFile:
    """Return the header of a GGUF file, of all its parts if it has several; no tensor is read.

    Raises BuildError if it is damaged, or if a part is missing. The last header is kept, because a build reads config,
    weights and vocabulary from it, each in a room of its own.
    """
    place = path
    stamps: list[tuple[int, int]] = []
    try:
        for name in part_names(path.name):
            place = path.with_name(name)
            if not place.is_file() and place != path:
                stamps.append((0, 0))
                continue
            with place.open("rb") as file:
                stamps.append(file_stamp(file))
        return _read(path, tuple(stamps))
    except OSError as error:
        raise BuildError(f"{place}: cannot be read: {error.strerror}; check the file and its permissions") from None


@lru_cache(maxsize=1)
def _read(path: Path, stamps: tuple[tuple[int, int], ...]) -> GgufFile:
    named = read_header(path)
    count = named.settings.get("split.count", 1)
    if count in (0, 1):
        return named
    names = part_names(path.name)
    if len(names) != count:
        raise BuildError(
            f"{path}: one of {clip(repr(count))} parts, whose name does not end in -0000N-of-0000M.gguf; give "
            "the parts the names under which they were published"
        )
    files: list[GgufFile] = []
    for number, name in enumerate(names):
        part = path.with_name(name)
        if not part.is_file():
            raise BuildError(
                f"{part}: not found, part {number + 1} of {count} of a GGUF file; download it into the same folder"
            )
        file = named if part == path else read_header(part)
        if file.settings.get("split.no") != number or file.settings.get("split.count") != count:
            raise BuildError(
                f"{part}: expected part {number + 1} of {count} by its name, got other keys split.no and split.count; "
                "download it again"
            )
        files.append(file)
    return GgufFile(files[0].path, files[0].settings, _merge(files))


def _merge(files: list[GgufFile]) -> dict[str, GgufTensor]:
    """Return the tensors of all parts. Raises BuildError if one appears twice, or if others than all are there."""
    tensors: dict[str, GgufTensor] = {}
    for file in files:
        for name, tensor in file.tensors.items():
            if name in tensors:
                raise BuildError(f"{file.path}: tensor '{clip(name)}' is in two parts; download the parts again")
            tensors[name] = tensor
    expected = files[0].settings.get("split.tensors.count")
    if expected is not None and expected != len(tensors):
        raise BuildError(
            f"{files[0].path}: expected {clip(repr(expected))} tensors in {len(files)} parts, got {len(tensors)}; "
            "download the parts again"
        )
    return tensors
