"""Moving a model's weight references into the plan file, by walking the protobuf wire format.

The onnx package is not needed for that, and nothing is taken on trust: a tensor outside the main graph's initializers
may not refer to a file at all, and an initializer may refer only to `weights.bin`, where the manifest says it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runtime.dtypes import DTYPES
from runtime.errors import PlanError
from runtime.plan.manifest import Tensor

_MAX_DEPTH = 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Which fields of a message hold messages that can lead to a tensor (onnx.proto, IR version 11).
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
}
_GRAPH, _INITIALIZER, _OP_TYPE = 7, 5, 4
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 1, 2, 8, 9, 13, 14
_DATA_FIELDS = {4, 5, 6, 7, _RAW_DATA, 10, 11}

Field = tuple[int, int, int | memoryview, int, int]
"""Field number, wire type, value (int, or the bytes), and where the field starts and ends in its message."""


def place_weights(model: bytes, tensors: Sequence[Tensor], location: str, base: int, where: str) -> bytes:
    """Return `model` with each external tensor at `base` plus its offset in the file called `location`.

    Raises PlanError, naming `where`, for damaged protobuf and for any reference that the manifest does not list.
    """
    try:
        location.encode()
    except UnicodeEncodeError:
        raise PlanError(f"{where}: the file's name is not valid Unicode; rename it") from None
    return _Walk({tensor.name: tensor for tensor in tensors}, location, base, where).model(model)


class _Walk:
    def __init__(self, tensors: dict[str, Tensor], location: str, base: int, where: str) -> None:
        self.tensors, self.location, self.base, self.where = tensors, location, base, where

    def error(self, problem: str) -> PlanError:
        return PlanError(f"{self.where}: {problem}; do not trust this file, or build it again")

    def model(self, model: bytes) -> bytes:
        out: list[bytes | memoryview] = []
        for number, wire, value, start, end in self.fields(memoryview(model)):
            if number == _GRAPH and wire == _BYTES:
                assert isinstance(value, memoryview)
                graph = self.graph(value)
                out += [_tag(_GRAPH, _BYTES), _varint(len(graph)), graph]
            else:
                self.descend("model", number, wire, value, 0)
                out.append(memoryview(model)[start:end])
        return b"".join(out)

    def graph(self, graph: memoryview) -> bytes:
        out: list[bytes | memoryview] = []
        for number, wire, value, start, end in self.fields(graph):
            if number == _INITIALIZER and wire == _BYTES:
                assert isinstance(value, memoryview)
                tensor = self.initializer(value)
                out += [_tag(_INITIALIZER, _BYTES), _varint(len(tensor)), tensor]
            else:
                self.descend("graph", number, wire, value, 1)
                out.append(graph[start:end])
        return b"".join(out)

    def descend(self, kind: str, number: int, wire: int, value: int | memoryview, depth: int) -> None:
        """Refuse external data in whatever a field holds, at any depth."""
        if kind == "node" and number == _OP_TYPE and isinstance(value, memoryview) and bytes(value) == b"EPContext":
            raise self.error("it has an EPContext node, which loads other files")
        child = _CHILDREN.get(kind, {}).get(number)
        if child is None or not isinstance(value, memoryview):
            return
        if depth > _MAX_DEPTH:
            raise self.error(f"it is nested deeper than {_MAX_DEPTH} levels")
        for number, wire, inner, _, _ in self.fields(value):
            if child == "tensor":
                if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and inner != 0):
                    raise self.error("a tensor that is not an initializer of the main graph has external data")
            else:
                self.descend(child, number, wire, inner, depth + 1)

    def initializer(self, data: memoryview) -> bytes | memoryview:
        """Return one TensorProto of the main graph, its external data checked and moved if it has any."""
        name, dtype, dims, inline = "", 0, list[int](), False
        external: list[memoryview] = []
        kept: list[memoryview] = []
        is_external = False
        for number, _, value, start, end in self.fields(data):
            if number == _EXTERNAL_DATA and isinstance(value, memoryview):
                external.append(value)
                continue
            if number == _DATA_LOCATION and isinstance(value, int):
                if value not in (0, 1):
                    raise self.error(f"an initializer's data location is {value}, which ONNX does not define")
                is_external = value == 1
                continue
            if number == _NAME and isinstance(value, memoryview):
                name = self.text(value)
            elif number == _DATA_TYPE and isinstance(value, int):
                dtype = value
            elif number == _DIMS:
                dims += [value] if isinstance(value, int) else self.packed(value)
            inline = inline or number in _DATA_FIELDS
            kept.append(data[start:end])
        if not is_external:
            if external:
                raise self.error(f"initializer {name!r:.200} names external data but does not use it")
            return data
        tensor = self.tensors.get(name)
        if tensor is None:
            raise self.error(f"initializer {name!r:.200} has external data, but the manifest lists no such tensor")
        if inline or dims != list(tensor.shape) or dtype != DTYPES[tensor.dtype].onnx:
            raise self.error(
                f"initializer {name!r:.200} is not the {tensor.dtype} {list(tensor.shape)} of the manifest"
            )
        self.check_reference(tensor, external)
        entries = {"location": self.location, "offset": str(self.base + tensor.offset), "length": str(tensor.bytes)}
        moved = [_bytes(_EXTERNAL_DATA, _bytes(1, k.encode()) + _bytes(2, v.encode())) for k, v in entries.items()]
        return b"".join([*kept, *moved, _tag(_DATA_LOCATION, _VARINT), b"\x01"])

    def check_reference(self, tensor: Tensor, external: Sequence[memoryview]) -> None:
        found: dict[str, str] = {}
        for entry in external:
            pair = {number: self.text(value) for number, _, value, _, _ in self.fields(entry)}
            if set(pair) - {1, 2} or pair.get(1, "") in found:
                raise self.error(f"the external data of {tensor.name!r} is malformed")
            found[pair.get(1, "")] = pair.get(2, "")
        expected = {"location": "weights.bin", "offset": str(tensor.offset), "length": str(tensor.bytes)}
        found.setdefault("offset", "0")
        found.setdefault("length", str(tensor.bytes))
        for key in found.keys() | expected.keys():
            if found.get(key) != expected.get(key):
                raise self.error(
                    f"the external data of {tensor.name!r} has {key[:40]!r} = {found.get(key, '')[:80]!r}, "
                    f"where the manifest gives {expected.get(key)!r}"
                )

    def text(self, value: int | memoryview) -> str:
        if isinstance(value, int):
            raise self.error("a name is a number")
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            raise self.error("a name is not UTF-8 text") from None

    def packed(self, value: memoryview) -> list[int]:
        numbers, at = list[int](), 0
        while at < len(value):
            number, at = self.varint(value, at)
            numbers.append(number)
        return numbers

    def varint(self, data: memoryview, at: int) -> tuple[int, int]:
        value = shift = 0
        while at < len(data) and shift < 70:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise self.error("it is not a valid protobuf message")

    def fields(self, data: memoryview) -> Iterator[Field]:
        """Yield the fields of one message; refuse what a lenient parser might read in another way."""
        at = 0
        while at < len(data):
            start = at
            tag, at = self.varint(data, at)
            number, wire = tag >> 3, tag & 7
            value: int | memoryview = 0
            if wire == _VARINT:
                value, at = self.varint(data, at)
            elif wire == _BYTES:
                length, at = self.varint(data, at)
                value = data[at : at + length]
                at += length
            elif wire in (_FIXED64, _FIXED32):
                at += 8 if wire == _FIXED64 else 4
            # C++ parsers cut a tag to 32 bits, so a larger one would mean another field to them.
            if not 0 < number < 1 << 29 or wire in (3, 4, 6, 7) or at > len(data):
                raise self.error("it is not a valid protobuf message")
            yield number, wire, value, start, at


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _tag(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _bytes(number: int, value: bytes) -> bytes:
    return _tag(number, _BYTES) + _varint(len(value)) + value
