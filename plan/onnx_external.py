"""External-data references of an ONNX model: validated, and relocated into the plan file, in the protobuf wire format.

Only initializers of the main graph may have external data: in `weights.bin`, with the offset and size of the manifest.
The references are relocated because ONNX Runtime maps external data only from a file path: its in-memory interfaces
copy every weight. The onnx package is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import DTYPES
from archc.plan.errors import PlanError
from archc.plan.integers import WITHOUT_VNNI, Replacements
from archc.plan.records import Tensor
from archc.plan.wire import BYTES, FIXED64, VARINT, bytes_field, number_field

_MAX_DEPTH = 64

# Fields with nested messages that may contain a tensor (onnx.proto, IR version 11).
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
_EXTERNAL = 1  # a value of _DATA_LOCATION
_DATA_FIELDS = {4, 5, 6, 7, _RAW_DATA, 10, 11}

Field = tuple[int, int, int, int, int]
"""Field number, wire type, offset of the field, then start and end of its bytes (for a varint: its value and end)."""


def relocate_weights(
    model: bytes,
    tensors: Sequence[Tensor],
    location: str,
    base: int,
    where: str,
    replacements: Replacements | None = None,
) -> bytes:
    """Return `model` with each external tensor in the file `location`, at `base` plus its offset in weights.bin.

    With `replacements`, integer products have the form for processors without VNNI.
    Raises PlanError with the place `where` for damaged protobuf and for references that are not in `tensors`.
    """
    try:
        location.encode()
    except UnicodeEncodeError:
        raise PlanError(f"{where}: the file name is not valid Unicode; rename the file") from None
    named = {tensor.name: tensor for tensor in tensors}
    return _Rewriter(model, named, location, base, where, replacements).model()


class _Rewriter:
    """A recursive walk over a serialized ModelProto that copies it with new external-data records."""

    def __init__(
        self,
        data: bytes,
        tensors: dict[str, Tensor],
        location: str,
        base: int,
        where: str,
        replacements: Replacements | None,
    ) -> None:
        self.data, self.tensors, self.location, self.base, self.where = data, tensors, location, base, where
        self.replacements = replacements

    def error(self, problem: str) -> PlanError:
        """Return a PlanError for an invalid or malicious model."""
        return PlanError(f"{self.where}: {problem}; do not trust this file, or build the plan again")

    def model(self) -> bytes:
        """Return the whole model, rewritten."""
        out: list[bytes] = []
        for number, wire, start, first, end in self.fields(0, len(self.data)):
            if number == _GRAPH and wire == BYTES:
                graph = self.graph(first, end)
                out.append(bytes_field(_GRAPH, graph))
            else:
                self.field("model", number, wire, first, end, 0)
                out.append(self.data[start:end])
        return b"".join(out)

    def graph(self, at: int, end: int) -> bytes:
        """Return the main GraphProto, rewritten."""
        out: list[bytes] = []
        for number, wire, start, first, last in self.fields(at, end):
            if number == _INITIALIZER and wire == BYTES:
                tensor = self.initializer(first, last)
                out.append(bytes_field(_INITIALIZER, tensor))
            else:
                self.field("graph", number, wire, first, last, 1)
                out.append(self.data[start:last])
        return b"".join(out)

    def field(self, kind: str, number: int, wire: int, at: int, end: int, depth: int) -> None:
        """Raise PlanError for external data anywhere in one field of a message."""
        child = _CHILDREN[kind].get(number)
        if child is not None and wire == BYTES:
            self.message(child, at, end, depth + 1)

    def message(self, kind: str, at: int, end: int, depth: int) -> None:
        """Raise PlanError for external data anywhere in a message; this takes most of the time for a model."""
        if depth > _MAX_DEPTH:
            raise self.error(f"the model is nested deeper than {_MAX_DEPTH} levels")
        if kind == "tensor":
            for number, wire, _, first, _ in self.fields(at, end):
                if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and (wire != VARINT or first != 0)):
                    raise self.error(
                        "external data is not supported for a tensor that is not an initializer of the main graph"
                    )
            return
        children = _CHILDREN[kind]
        for number, wire, _, first, last in self.fields(at, end):
            if number in children:
                if wire == BYTES:
                    self.message(children[number], first, last, depth + 1)
            elif number == _OP_TYPE and kind == "node" and wire == BYTES and self.data[first:last] == b"EPContext":
                raise self.error("an EPContext node is not supported, because it loads other files")

    def initializer(self, at: int, end: int) -> bytes:
        """Return one initializer of the main graph, with validated and relocated external data."""
        name, dtype, dims, inline = "", 0, list[int](), False
        external: list[tuple[int, int]] = []
        copied: list[bytes] = []
        is_external = False
        for number, wire, start, first, last in self.fields(at, end):
            if number == _EXTERNAL_DATA and wire == BYTES:
                external.append((first, last))
                continue
            if number == _DATA_LOCATION and wire == VARINT:
                if first not in (0, 1):
                    raise self.error(f"the data location {first} of an initializer is not supported")
                is_external = first == 1
                continue
            if number == _NAME and wire == BYTES:
                name = self.text(first, last)
            elif number == _DATA_TYPE and wire == VARINT:
                dtype = first
            elif number == _DIMS:
                dims += [first] if wire == VARINT else self.packed(first, last)
            inline = inline or number in _DATA_FIELDS
            copied.append(self.data[start:last])
        if not is_external:
            if external:
                raise self.error(
                    f"initializer {name!r:.200} has external-data records, but its data location is internal"
                )
            replaced = self.replacements is not None and name in WITHOUT_VNNI and not dims
            return _scalar(name, WITHOUT_VNNI[name]) if replaced else self.data[at:end]
        tensor = self.tensors.get(name)
        if tensor is None:
            raise self.error(f"initializer {name!r:.200} has external data, but is not in the manifest's tensors")
        if inline or dims != list(tensor.shape) or dtype != DTYPES[tensor.dtype].onnx:
            raise self.error(
                f"initializer {name!r:.200}: expected {tensor.dtype} {list(tensor.shape)} and no inline data, "
                "as in the manifest"
            )
        self.check_reference(tensor, external)
        entries = {"location": self.location, "offset": str(self.base + tensor.offset), "length": str(tensor.bytes)}
        if self.replacements is not None and name in self.replacements.weights:
            self.replacements.found.add(name)
            sizes = [number_field(_DIMS, size) for size in dims]
            copied = [*sizes, _typed(name, DTYPES["uint8"].onnx)]
        moved = [
            bytes_field(_EXTERNAL_DATA, bytes_field(1, key.encode()) + bytes_field(2, value.encode()))
            for key, value in entries.items()
        ]
        return b"".join([*copied, *moved, number_field(_DATA_LOCATION, _EXTERNAL)])

    def check_reference(self, tensor: Tensor, external: Sequence[tuple[int, int]]) -> None:
        """Raise PlanError unless the external-data records are those of the manifest's tensor."""
        records: dict[str, str] = {}
        for at, end in external:
            pair = {number: self.text(first, last, wire) for number, wire, _, first, last in self.fields(at, end)}
            if set(pair) - {1, 2} or pair.get(1, "") in records:
                raise self.error(f"the external data of {tensor.name!r} is malformed")
            records[pair.get(1, "")] = pair.get(2, "")
        expected = {"location": "weights.bin", "offset": str(tensor.offset), "length": str(tensor.bytes)}
        records.setdefault("offset", "0")
        records.setdefault("length", str(tensor.bytes))
        for key in records.keys() | expected.keys():
            if records.get(key) != expected.get(key):
                raise self.error(
                    f"the external data of {tensor.name!r}: expected {key[:40]!r} = {expected.get(key)!r}, "
                    f"got {records.get(key, '')[:80]!r}"
                )

    def text(self, at: int, end: int, wire: int = BYTES) -> str:
        """Return a string field."""
        if wire != BYTES:
            raise self.error("a string field is a number")
        try:
            return self.data[at:end].decode()
        except UnicodeDecodeError:
            raise self.error("a string field is not UTF-8") from None

    def packed(self, at: int, end: int) -> list[int]:
        """Return a packed field of varints."""
        numbers = list[int]()
        while at < end:
            number, at = self.varint(at, end)
            numbers.append(number)
        return numbers

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """Return the varint at an offset, and the offset after it."""
        value = shift = 0
        while at < end and shift < 70:
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise self.error("invalid protobuf message")

    def fields(self, at: int, end: int) -> Iterator[Field]:
        """Yield the fields of one message; raise PlanError for encodings that parsers read differently."""
        data = self.data
        while at < end:
            start = at
            tag = data[at]
            at += 1
            if tag > 0x7F:
                tag, at = self.varint(start, end)
            number, wire = tag >> 3, tag & 7
            if wire == BYTES:
                length, first = (data[at], at + 1) if at < end and data[at] < 0x80 else self.varint(at, end)
                at = first + length
            elif wire == VARINT:
                first, at = self.varint(at, end)
            else:
                first, at = at, at + (8 if wire == FIXED64 else 4)
            # C++ parsers truncate a tag to 32 bits, so a larger one would be another field there.
            if not 0 < number < 1 << 29 or wire in (3, 4, 6, 7) or at > end:
                raise self.error("invalid protobuf message")
            yield number, wire, start, first, at


def _typed(name: str, dtype: int) -> bytes:
    return number_field(_DATA_TYPE, dtype) + bytes_field(_NAME, name.encode())


def _scalar(name: str, value: NDArray[np.generic]) -> bytes:
    """Return a TensorProto without axes."""
    return _typed(name, DTYPES[value.dtype.name].onnx) + bytes_field(_RAW_DATA, value.tobytes())
