"""The central directory of a ZIP file with uncompressed members, as torch.save writes it (APPNOTE 6.3.10)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from archc.archspec.errors import clip
from archc.compiler.errors import BuildError

MAGIC = b"PK\x03\x04"
_MAX_MEMBERS = 2**19
_MAX_DIRECTORY_BYTES = 64 * 2**20
_MAX_COMMENT = 2**16
_MAX_32 = 0xFFFFFFFF
_ENCRYPTED = 0x1
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")


@dataclass(frozen=True)
class Member:
    """A member of the directory: the offset of its local header, its size in bytes, and whether it is plain data."""

    name: str
    header: int
    size: int
    stored: bool


@dataclass(frozen=True)
class ZipFile:
    """An open ZIP file of `size` bytes, with its members by name."""

    path: Path
    file: BinaryIO
    size: int
    members: dict[str, Member]

    def find(self, name: str) -> tuple[int, int]:
        """Return the offset and size in bytes of a member's data.

        Raises BuildError if there is no such member, if it is compressed, or if it is not within the file.
        """
        member = self.members.get(name)
        if member is None:
            raise _damaged(self.path, f"'{clip(name)}' is missing")
        if not member.stored:
            raise BuildError(
                f"{self.path}: '{clip(name)}' is compressed or encrypted, expected stored data as torch.save writes "
                "it; save the checkpoint again with torch.save"
            )
        local = _LOCAL.unpack(_read(self.path, self.file, member.header, _LOCAL.size))
        offset = member.header + _LOCAL.size + local[-2] + local[-1]
        if local[0] != MAGIC or offset + member.size > self.size:
            raise _damaged(self.path, f"'{clip(name)}' is not within the file")
        return offset, member.size


def open_zip(path: Path, file: BinaryIO, size: int) -> ZipFile:
    """Return the members of a ZIP file. Raises BuildError if the directory is damaged or too large."""
    start, length, count = _find_directory(path, file, size)
    if count > _MAX_MEMBERS or length > _MAX_DIRECTORY_BYTES or start + length > size:
        raise _damaged(path, f"a directory of {count} members in {length} bytes")
    directory = _read(path, file, start, length)
    members: dict[str, Member] = {}
    at = 0
    for _ in range(count):
        member, at = _member(path, directory, at)
        if member.name in members:
            raise _damaged(path, f"'{clip(member.name)}' appears twice")
        members[member.name] = member
    return ZipFile(path, file, size, members)


def _find_directory(path: Path, file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Return offset, length and member count of the central directory."""
    tail_at = max(0, size - _END.size - _MAX_COMMENT)
    tail = _read(path, file, tail_at, size - tail_at)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise _damaged(path, "the ZIP directory at the end is missing")
    _, _, _, _, count, length, start, _ = _END.unpack_from(tail, at)
    locator_at = tail_at + at - _LOCATOR_64.size
    if locator_at >= 0:
        magic, _, end_64, _ = _LOCATOR_64.unpack(_read(path, file, locator_at, _LOCATOR_64.size))
        if magic == b"PK\x06\x07":
            fields = _END_64.unpack(_read(path, file, end_64, _END_64.size))
            if fields[0] != b"PK\x06\x06":
                raise _damaged(path, "the ZIP64 directory is missing")
            count, length, start = fields[7], fields[8], fields[9]
    return start, length, count


def _member(path: Path, directory: bytes, at: int) -> tuple[Member, int]:
    """Return the member at an offset of the directory, and the offset of the next one."""
    if at + _CENTRAL.size > len(directory):
        raise _damaged(path, "the ZIP directory is truncated")
    fields = _CENTRAL.unpack_from(directory, at)
    magic, flags, method, packed, size = fields[0], fields[3], fields[4], fields[8], fields[9]
    name_length, extra_length, comment_length, header = *fields[10:13], fields[16]
    name_at = at + _CENTRAL.size
    extra_at = name_at + name_length
    after = extra_at + extra_length + comment_length
    if magic != b"PK\x01\x02" or after > len(directory):
        raise _damaged(path, "the ZIP directory is damaged")
    wide = _wide_values(directory[extra_at : extra_at + extra_length])
    values = []
    for value in (size, packed, header):
        if value == _MAX_32 and not wide:
            raise _damaged(path, "the ZIP64 sizes are missing")
        values.append(wide.pop(0) if value == _MAX_32 else value)
    size, packed, header = values
    name = directory[name_at:extra_at].decode("utf-8", "replace")
    return Member(name, header, size, method == 0 and size == packed and not flags & _ENCRYPTED), after


def _wide_values(extra: bytes) -> list[int]:
    """Return the 64-bit values of the ZIP64 extra field."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if tag == 1:
            body = extra[at + 4 : at + 4 + length]
            return list(struct.unpack(f"<{len(body) // 8}Q", body[: len(body) // 8 * 8]))
        at += 4 + length
    return []


def _read(path: Path, file: BinaryIO, offset: int, length: int) -> bytes:
    if offset >= 2**63:
        raise _damaged(path, "an offset is not within the file")
    file.seek(offset)
    data = file.read(length)
    if len(data) != length:
        raise _damaged(path, "it ends early")
    return data


def _damaged(path: Path, fault: str) -> BuildError:
    return BuildError(f"{path}: not a usable checkpoint of torch.save: {fault}; download it again")
