"""The ZIP container of a plan: stored, page-aligned entries, and no other feature of ZIP."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

from archc.plan.errors import PlanError

PAGE = 4096
"""Alignment of every entry's data in the file, in bytes."""

MAX_ENTRIES = 1024
MAX_DIRECTORY_BYTES = 1 << 20
MAX_NAME_BYTES = 255

LOCAL = struct.Struct("<IHHHHHIIIHH")  # signature, version, flags, method, time, date, crc, packed, size, name, extra
CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
END = struct.Struct("<IHHHHIIH")
END64 = struct.Struct("<IQHHIIQQQQ")
LOCATOR64 = struct.Struct("<IIQI")
LOCAL_MAGIC, CENTRAL_MAGIC, END_MAGIC = 0x04034B50, 0x02014B50, 0x06054B50
END64_MAGIC, LOCATOR64_MAGIC = 0x06064B50, 0x07064B50
UTF8_FLAG = 0x800
ZIP64_EXTRA, ALIGNMENT_EXTRA = 0x0001, 0xD935
MAX32 = 0xFFFFFFFF


@dataclass(frozen=True)
class Span:
    """Name, offset in the plan file, size in bytes and CRC-32 of one entry."""

    name: str
    offset: int
    size: int
    crc: int


def check_name(name: str) -> str | None:
    """Return the fault of an entry's name, or None for a plain relative path with forward slashes."""
    if not name or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        return "is empty or too long"
    if any(ord(c) < 32 or c in '\\:*?"<>|' or 0xD800 <= ord(c) <= 0xDFFF or ord(c) == 127 for c in name):
        return "has a character that is not portable in file names"
    if name.startswith("/") or any(part in ("", ".", "..") for part in name.split("/")):
        return "is absolute or leads out of its folder"
    if any(part.endswith((".", " ")) for part in name.split("/")):
        return "ends in a dot or a space"
    return None


def read_directory(file: BinaryIO, where: str) -> dict[str, Span]:
    """Return every entry of the plan in `file` by name; raise PlanError for any damage or inconsistency."""
    size = os.fstat(file.fileno()).st_size
    if size < LOCAL.size + CENTRAL.size + END.size or _unpack(LOCAL, file, 0)[0] != LOCAL_MAGIC:
        raise PlanError(
            f"{where}: not an engine.plan: the signature at the start is missing; use the file that archc build wrote"
        )
    start, length, count = _find_directory(file, size, where)
    if count > MAX_ENTRIES or length > MAX_DIRECTORY_BYTES:
        raise PlanError(
            f"{where}: the directory has {count} entries in {length} bytes, expected at most {MAX_ENTRIES} in "
            f"{MAX_DIRECTORY_BYTES}; build the plan again"
        )
    file.seek(start)
    directory = file.read(length)
    spans: dict[str, Span] = {}
    extents: list[tuple[int, int, str]] = []
    at = 0
    for _ in range(count):
        header, span, at = _central_entry(directory, at, where)
        if span.name in spans:
            raise PlanError(f"{where}: entry {span.name!r} appears twice; build the plan again")
        span = _check_local(file, header, span, start, where)
        spans[span.name] = span
        extents.append((header, span.offset + span.size, span.name))
    if at != length:
        raise PlanError(f"{where}: the directory has {length - at} unused bytes; build the plan again")
    folded = {name.casefold() for name in spans}
    if len(folded) != len(spans):
        raise PlanError(f"{where}: two entry names differ only in case; build the plan again")
    extents.sort()
    for (_, end, first), (begin, _, second) in pairwise(extents):
        if begin < end:
            raise PlanError(f"{where}: entries {first!r} and {second!r} overlap; build the plan again")
    return spans


def _unpack(layout: struct.Struct, file: BinaryIO, offset: int) -> tuple[int, ...]:
    file.seek(offset)
    data = file.read(layout.size)
    return layout.unpack(data) if len(data) == layout.size else (0,) * len(layout.unpack(bytes(layout.size)))


def _find_directory(file: BinaryIO, size: int, where: str) -> tuple[int, int, int]:
    """Return offset, length and entry count of the central directory, which must end at the end of the file."""
    magic, disk, first_disk, here, count, length, start, comment = _unpack(END, file, size - END.size)
    if magic != END_MAGIC or disk or first_disk or here != count or comment:
        raise PlanError(f"{where}: truncated or damaged: the end record is missing; copy or build the plan again")
    end = size - END.size
    if start == MAX32 or length == MAX32 or count == 0xFFFF:
        magic, disk, end64, disks = _unpack(LOCATOR64, file, max(end - LOCATOR64.size, 0))
        if magic != LOCATOR64_MAGIC or disk or disks != 1 or end64 != end - LOCATOR64.size - END64.size:
            raise PlanError(f"{where}: damaged: the ZIP64 locator is wrong; copy or build the plan again")
        fields = _unpack(END64, file, end64)
        if fields[0] != END64_MAGIC or fields[1] != END64.size - 12 or fields[4] or fields[5] or fields[6] != fields[7]:
            raise PlanError(f"{where}: damaged: the ZIP64 end record is wrong; copy or build the plan again")
        count, length, start = fields[7], fields[8], fields[9]
        end = end64
    if start + length != end or count * CENTRAL.size > length:
        raise PlanError(
            f"{where}: truncated or damaged: the directory is not at its recorded offset; copy or build the plan again"
        )
    return start, length, count


def _central_entry(directory: bytes, at: int, where: str) -> tuple[int, Span, int]:
    """Return the local header's offset, the entry with an unknown data offset, and the offset of the next record."""
    if at + CENTRAL.size > len(directory):
        raise PlanError(f"{where}: the directory ends within an entry; copy or build the plan again")
    fields = CENTRAL.unpack_from(directory, at)
    magic, _, _, flags, method, _, _, crc, packed, size, name_len, extra_len, comment_len, disk, _, _, header = fields
    after = at + CENTRAL.size + name_len + extra_len + comment_len
    if magic != CENTRAL_MAGIC or after > len(directory) or comment_len or disk:
        raise PlanError(f"{where}: the directory is damaged at byte {at}; copy or build the plan again")
    raw = directory[at + CENTRAL.size : at + CENTRAL.size + name_len]
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise PlanError(f"{where}: the entry name {raw[:40]!r} is not UTF-8; build the plan again") from None
    problem = check_name(name)
    if problem:
        raise PlanError(f"{where}: the entry name {name[:80]!r} {problem}; do not trust this file")
    extra = directory[at + CENTRAL.size + name_len : at + CENTRAL.size + name_len + extra_len]
    size, packed, header = _widen(extra, size, packed, header, f"{where}: entry {name!r}")
    if method != 0 or size != packed:
        raise PlanError(f"{where}: entry {name!r} is compressed, expected stored; build the plan again")
    if flags & ~UTF8_FLAG:
        raise PlanError(
            f"{where}: entry {name!r}: encryption and streaming (flags {flags:#x}) are not supported; "
            "build the plan again"
        )
    return header, Span(name, -1, size, crc), after


def _widen(extra: bytes, size: int, packed: int, header: int, where: str) -> tuple[int, int, int]:
    """Return size, packed size and header offset; a value of 0xFFFFFFFF is replaced from the ZIP64 extra field."""
    wide: list[int] = []
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        body = extra[at + 4 : at + 4 + length]
        if len(body) != length or (tag == ZIP64_EXTRA and (wide or length % 8 or not length)):
            raise PlanError(f"{where}: the extra field is damaged; build the plan again")
        if tag == ZIP64_EXTRA:
            wide = list(struct.unpack(f"<{length // 8}Q", body))
        at += 4 + length
    values = []
    for value in (size, packed, header):
        if value == MAX32 and not wide:
            raise PlanError(f"{where}: the ZIP64 sizes are missing; build the plan again")
        values.append(wide.pop(0) if value == MAX32 else value)
    return values[0], values[1], values[2]


def _check_local(file: BinaryIO, header: int, span: Span, end: int, where: str) -> Span:
    """Return `span` with its data offset; raise PlanError unless the local header agrees with the directory."""
    if header + LOCAL.size > end:
        raise PlanError(f"{where}: entry {span.name!r} starts outside the file; copy or build the plan again")
    fields = _unpack(LOCAL, file, header)
    magic, _, flags, method, _, _, crc, packed, size, name_len, extra_len = fields
    name = file.read(name_len)
    extra = file.read(extra_len)
    size, packed, _ = _widen(extra, size, packed, 0, f"{where}: entry {span.name!r}")
    record = (magic, flags & ~UTF8_FLAG, method, crc, packed, size, name)
    if record != (LOCAL_MAGIC, 0, 0, span.crc, span.size, span.size, span.name.encode()):
        raise PlanError(
            f"{where}: the local header of entry {span.name!r} differs from the directory; copy or build the plan again"
        )
    offset = header + LOCAL.size + name_len + extra_len
    if offset + span.size > end:
        raise PlanError(
            f"{where}: entry {span.name!r} of {span.size} bytes ends outside the file; copy or build the plan again"
        )
    if offset % PAGE:
        raise PlanError(
            f"{where}: entry {span.name!r} is not aligned to {PAGE} bytes, as after repacking with zip tools; "
            "build the plan again"
        )
    return Span(span.name, offset, span.size, span.crc)
