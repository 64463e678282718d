"""Moving a model's weight references into the plan file, by walking the protobuf wire format.

The onnx package is not needed for that, and nothing is taken on trust: a tensor outside the main graph's initializers
may not refer to a file at all, and an initializer may refer only to `weights.bin`, where the manifest says it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archc.plan.dtypes import DTYPES
from archc.plan.errors import PlanError
from archc.plan.manifest import Tensor

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

Field = tuple[int, int, int, int, int]
"""Field number, wire type, where the field starts, and where its bytes start and end (of a number: it, and the end)."""


def place_weights(model: bytes, tensors: Sequence[Tensor], location: str, base: int, where: str) -> bytes:
    """Return `model` with each external tensor at `base` plus its offset in the file called `location`.

    Raises PlanError, naming `where`, for damaged protobuf and for any reference that the manifest does not list.
    """
    try:
        location.encode()
    except UnicodeEncodeError:
        raise PlanError(f"{where}: the file's name is not valid Unicode; rename it") from None
    return _Walk(model, {tensor.name: tensor for tensor in tensors}, location, base, where).model()


class _Walk:
    def __init__(self, data: bytes, tensors: dict[str, Tensor], location: str, base: int, where: str) -> None:
        self.data, self.tensors, self.location, self.base, self.where = data, tensors, location, base, where

    def error(self, problem: str) -> PlanError:
        return PlanError(f"{self.where}: {problem}; do not trust this file, or build it again")

    def model(self) -> bytes:
        out: list[bytes] = []
        for number, wire, start, first, end in self.fields(0, len(self.data)):
            if number == _GRAPH and wire == _BYTES:
                graph = self.graph(first, end)
                out += [_tag(_GRAPH, _BYTES), _varint(len(graph)), graph]
            else:
                self.field("model", number, wire, first, end, 0)
                out.append(self.data[start:end])
        return b"".join(out)

    def graph(self, at: int, end: int) -> bytes:
        out: list[bytes] = []
        for number, wire, start, first, last in self.fields(at, end):
            if number == _INITIALIZER and wire == _BYTES:
                tensor = self.initializer(first, last)
                out += [_tag(_INITIALIZER, _BYTES), _varint(len(tensor)), tensor]
            else:
                self.field("graph", number, wire, first, last, 1)
                out.append(self.data[start:last])
        return b"".join(out)

    def field(self, kind: str, number: int, wire: int, at: int, end: int, depth: int) -> None:
        """Refuse external data in whatever a field of a message holds, at any depth."""
        child = _CHILDREN[kind].get(number)
        if child is not None and wire == _BYTES:
            self.message(child, at, end, depth + 1)

    def message(self, kind: str, at: int, end: int, depth: int) -> None:
        """Refuse external data in a message, at any depth; most of a model's time is spent here."""
        if depth > _MAX_DEPTH:
            raise self.error(f"it is nested deeper than {_MAX_DEPTH} levels")
        if kind == "tensor":
            for number, wire, _, first, _ in self.fields(at, end):
                if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and (wire != _VARINT or first != 0)):
                    raise self.error("a tensor that is not an initializer of the main graph has external data")
            return
        children = _CHILDREN[kind]
        for number, wire, _, first, last in self.fields(at, end):
            if number in children:
                if wire == _BYTES:
                    self.message(children[number], first, last, depth + 1)
            elif number == _OP_TYPE and kind == "node" and wire == _BYTES and self.data[first:last] == b"EPContext":
                raise self.error("it has an EPContext node, which loads other files")

    def initializer(self, at: int, end: int) -> bytes:
        """Return one TensorProto of the main graph, its external data checked and moved if it has any."""
        name, dtype, dims, inline = "", 0, list[int](), False
        external: list[tuple[int, int]] = []
        kept: list[bytes] = []
        is_external = False
        for number, wire, start, first, last in self.fields(at, end):
            if number == _EXTERNAL_DATA and wire == _BYTES:
                external.append((first, last))
                continue
            if number == _DATA_LOCATION and wire == _VARINT:
                if first not in (0, 1):
                    raise self.error(f"an initializer's data location is {first}, which ONNX does not define")
                is_external = first == 1
                continue
            if number == _NAME and wire == _BYTES:
                name = self.text(first, last)
            elif number == _DATA_TYPE and wire == _VARINT:
                dtype = first
            elif number == _DIMS:
                dims += [first] if wire == _VARINT else self.packed(first, last)
            inline = inline or number in _DATA_FIELDS
            kept.append(self.data[start:last])
        if not is_external:
            if external:
                raise self.error(f"initializer {name!r:.200} names external data but does not use it")
            return self.data[at:end]
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

    def check_reference(self, tensor: Tensor, external: Sequence[tuple[int, int]]) -> None:
        found: dict[str, str] = {}
        for at, end in external:
            pair = {number: self.text(first, last, wire) for number, wire, _, first, last in self.fields(at, end)}
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

    def text(self, at: int, end: int, wire: int = _BYTES) -> str:
        if wire != _BYTES:
            raise self.error("a name is a number")
        try:
            return self.data[at:end].decode()
        except UnicodeDecodeError:
            raise self.error("a name is not UTF-8 text") from None

    def packed(self, at: int, end: int) -> list[int]:
        numbers = list[int]()
        while at < end:
            number, at = self.varint(at, end)
            numbers.append(number)
        return numbers

    def varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift < 70:
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise self.error("it is not a valid protobuf message")

    def fields(self, at: int, end: int) -> Iterator[Field]:
        """Yield the fields of one message; refuse what a lenient parser might read in another way."""
        data = self.data
        while at < end:
            start = at
            tag = data[at]
            at += 1
            if tag > 0x7F:
                tag, at = self.varint(start, end)
            number, wire = tag >> 3, tag & 7
            if wire == _BYTES:
                length, first = (data[at], at + 1) if at < end and data[at] < 0x80 else self.varint(at, end)
                at = first + length
            elif wire == _VARINT:
                first, at = self.varint(at, end)
            else:
                first, at = at, at + (8 if wire == _FIXED64 else 4)
            # C++ parsers cut a tag to 32 bits, so a larger one would mean another field to them.
            if not 0 < number < 1 << 29 or wire in (3, 4, 6, 7) or at > end:
                raise self.error("it is not a valid protobuf message")
            yield number, wire, start, first, at


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
