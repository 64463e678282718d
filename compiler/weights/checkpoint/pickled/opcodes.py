"""Pickles as data: an interpreter of the opcodes that tables of tensors consist of. It imports and calls nothing.

The stack machine is that of CPython's Lib/pickletools.py. Names are looked up in a closed list; the functions that
stand for them are archc's own. Every loop is bounded: by the size of the pickle, and by a number of operations.
"""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from mmap import mmap

from archc.archspec.errors import clip

MAX_BYTES = 64 * 2**20
MAX_OPERATIONS = 1_000_000
_MAX_NAME = 200
_MAX_LONG_BYTES = 16
_MAX_PROTOCOL = 5


class PickleError(ValueError):
    """A pickle that is damaged, or has more in it than tables of tensors."""


@dataclass(frozen=True)
class Name:
    """A global name of the closed list.

    `build` returns archc's own value for a call with these arguments; `dtype` is that of a storage or element type.
    """

    text: str
    build: Callable[[tuple[object, ...]], object] | None = None
    dtype: str | None = None


class _Mark:
    """The position on the stack at which a list of items begins."""


_MARK = _Mark()
_STOP = ord(".")


class PickleReader:
    """One pickle in `data` from `position` on.

    `names` is the closed list of global names; `load` returns the value of a persistent id.
    """

    def __init__(
        self,
        data: bytes | mmap,
        position: int,
        names: Mapping[str, Name],
        load: Callable[[object], object],
    ) -> None:
        self.position = position
        self._data, self._names, self._load = data, names, load
        self._end = min(len(data), position + MAX_BYTES)
        self._operations = 0
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}

    def read(self) -> object:
        """Return the pickle's value; `position` is then behind it. Raises PickleError for anything but tables."""
        collects = gc.isenabled()
        gc.disable()  # nothing here is garbage, and a collection goes through every list that a pickle has made
        try:
            return self._run()
        finally:
            if collects:
                gc.enable()

    def _run(self) -> object:
        handlers = _HANDLERS
        while True:
            self._operations += 1
            if self.position >= self._end or self._operations > MAX_OPERATIONS:
                self.spend(0)
                self._take(1)
            opcode = self._data[self.position]
            self.position += 1
            if opcode == _STOP:
                return self._pop()
            handler = handlers.get(opcode)
            if handler is None:
                raise PickleError(f"the pickle opcode {_opcode_name(opcode)} at byte {self.position - 1}")
            handler(self)

    def spend(self, operations: int) -> None:
        """Count operations. Raises PickleError for more than a table of tensors has."""
        self._operations += operations
        if self._operations > MAX_OPERATIONS:
            raise PickleError(f"more than {MAX_OPERATIONS} operations")

    def _take(self, count: int) -> bytes:
        start = self.position
        if count > self._end - start:
            raise PickleError(f"an end within an operation at byte {start}")
        self.position = start + count
        return self._data[start : start + count]

    def _unsigned(self, width: int) -> int:
        return int.from_bytes(self._take(width), "little")

    def _line(self) -> str:
        end = self._data.find(b"\n", self.position, min(self._end, self.position + _MAX_NAME))
        if end < 0:
            raise PickleError(f"a line of more than {_MAX_NAME} bytes at byte {self.position}")
        line = self._take(end - self.position)
        self.position = end + 1
        return line.decode("utf-8", "replace")

    def _pop(self) -> object:
        if not self._stack or (value := self._stack.pop()) is _MARK:
            raise PickleError(f"an operation without operands at byte {self.position}")
        return value

    def _top(self) -> object:
        value = self._pop()
        self._stack.append(value)
        return value

    def _items(self) -> list[object]:
        """Remove and return the values above the last mark, and remove the mark."""
        stack = self._stack
        for at in range(len(stack) - 1, -1, -1):
            if stack[at] is _MARK:
                items = stack[at + 1 :]
                del stack[at:]
                self.spend(len(items))
                return items
        raise PickleError(f"a list without its beginning at byte {self.position}")

    def _push_text(self, width: int) -> None:
        text = self._take(self._unsigned(width))
        try:
            self._stack.append(text.decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            raise PickleError(f"a text that is not UTF-8 at byte {self.position}") from None

    def _push_old_text(self, width: int) -> None:
        """Push a text of Python 2."""
        self._stack.append(self._take(self._unsigned(width)).decode("latin-1"))

    def _push_long(self, width: int) -> None:
        count = self._unsigned(width)
        if count > _MAX_LONG_BYTES:
            raise PickleError(f"an integer of {count} bytes at byte {self.position}")
        self._stack.append(int.from_bytes(self._take(count), "little", signed=True))

    def _push_tuple(self, count: int) -> None:
        values = tuple(self._stack[-count:])
        if len(values) < count or any(value is _MARK for value in values):
            raise PickleError(f"an operation without operands at byte {self.position}")
        self._stack[-count:] = [values]

    def _append(self, items: list[object]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise PickleError(f"an append to something that is not a list at byte {self.position}")
        target.extend(items)

    def _set(self, items: list[object]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(items) % 2:
            raise PickleError(f"an item of something that is not a table at byte {self.position}")
        add_items(target, items[::2], items[1::2])

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise PickleError(f"a reference to value {index}, which does not exist, at byte {self.position}")
        self._stack.append(self._memo[index])

    def _put(self, index: int) -> None:
        if index > MAX_OPERATIONS:
            raise PickleError(f"a reference with number {index} at byte {self.position}")
        self._memo[index] = self._top()

    def _find(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError(f"a name that is not a text at byte {self.position}")
        found = None
        if len(module) + len(name) < _MAX_NAME:
            found = self._names.get(f"{module}.{name}")
        if found is None:
            raise PickleError(f"'{clip(f'{module[:_MAX_NAME]}.{name[:_MAX_NAME]}')}'")
        self._stack.append(found)

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._find(module, name)

    def _global(self) -> None:
        module = self._line()
        self._find(module, self._line())

    def _instance(self) -> None:
        """Refuse INST by the name of its class, also one of the closed list."""
        module = self._line()
        raise PickleError(f"'{clip(f'{module}.{self._line()}')}'")

    def _reduce(self) -> None:
        args, name = self._pop(), self._pop()
        if not isinstance(name, Name) or name.build is None or not isinstance(args, tuple):
            raise PickleError(f"a call of {name.text if isinstance(name, Name) else type(name).__name__}")
        for each in args:
            self.spend(len(each) if isinstance(each, list | tuple) else 1)
        self._stack.append(name.build(args))

    def _build(self) -> None:
        """Pass over the attributes of a table or a tensor."""
        self._pop()
        if isinstance(self._top(), Name | list | tuple | str):
            raise PickleError(f"attributes of something that is not a table at byte {self.position}")

    def _protocol(self) -> None:
        if (version := self._unsigned(1)) > _MAX_PROTOCOL:
            raise PickleError(f"pickle protocol {version}")

    def _frame(self) -> None:
        self._take(8)


def add_items(table: dict[str, object], keys: list[object], values: list[object]) -> None:
    """Add items to a table; those whose key is not a text are left out, because no tensor has such a name."""
    table.update((key, value) for key, value in zip(keys, values, strict=True) if isinstance(key, str))


def _opcode_name(opcode: int) -> str:
    import pickletools

    known = {ord(info.code): info.name for info in pickletools.opcodes}
    return known.get(opcode, f"0x{opcode:02x}")


def _push(value: Callable[[PickleReader], object]) -> Callable[[PickleReader], None]:
    def handler(reader: PickleReader) -> None:
        reader._stack.append(value(reader))

    return handler


_HANDLERS: dict[int, Callable[[PickleReader], None]] = {
    # Framing.
    0x80: PickleReader._protocol,
    0x95: PickleReader._frame,
    # Numbers and constants.
    ord("N"): _push(lambda reader: None),
    0x88: _push(lambda reader: True),
    0x89: _push(lambda reader: False),
    ord("J"): _push(lambda reader: int.from_bytes(reader._take(4), "little", signed=True)),
    ord("K"): _push(lambda reader: reader._unsigned(1)),
    ord("M"): _push(lambda reader: reader._unsigned(2)),
    ord("G"): _push(lambda reader: struct.unpack(">d", reader._take(8))[0]),
    0x8A: lambda reader: reader._push_long(1),
    0x8B: lambda reader: reader._push_long(4),
    # Texts and bytes.
    0x8C: lambda reader: reader._push_text(1),
    ord("X"): lambda reader: reader._push_text(4),
    0x8D: lambda reader: reader._push_text(8),
    ord("U"): lambda reader: reader._push_old_text(1),
    ord("T"): lambda reader: reader._push_old_text(4),
    ord("C"): _push(lambda reader: reader._take(reader._unsigned(1))),
    ord("B"): _push(lambda reader: reader._take(reader._unsigned(4))),
    0x8E: _push(lambda reader: reader._take(reader._unsigned(8))),
    # Lists, tuples, sets and tables.
    ord("("): _push(lambda reader: _MARK),
    ord("]"): _push(lambda reader: []),
    ord("l"): lambda reader: reader._stack.append(reader._items()),
    ord("a"): lambda reader: reader._append([reader._pop()]),
    ord("e"): lambda reader: reader._append(reader._items()),
    0x8F: _push(lambda reader: []),
    0x90: lambda reader: reader._append(reader._items()),
    0x91: lambda reader: reader._stack.append(reader._items()),
    ord(")"): _push(lambda reader: ()),
    ord("t"): lambda reader: reader._stack.append(tuple(reader._items())),
    0x85: lambda reader: reader._push_tuple(1),
    0x86: lambda reader: reader._push_tuple(2),
    0x87: lambda reader: reader._push_tuple(3),
    ord("}"): _push(lambda reader: {}),
    ord("s"): lambda reader: reader._set([reader._pop(), reader._pop()][::-1]),
    ord("u"): lambda reader: reader._set(reader._items()),
    # Values that are used again.
    ord("h"): lambda reader: reader._get(reader._unsigned(1)),
    ord("j"): lambda reader: reader._get(reader._unsigned(4)),
    ord("q"): lambda reader: reader._put(reader._unsigned(1)),
    ord("r"): lambda reader: reader._put(reader._unsigned(4)),
    0x94: lambda reader: reader._put(len(reader._memo)),
    # Names of the closed list, and what stands for calling them.
    ord("c"): PickleReader._global,
    0x93: PickleReader._stack_global,
    ord("i"): PickleReader._instance,
    ord("R"): PickleReader._reduce,
    ord("b"): PickleReader._build,
    ord("Q"): lambda reader: reader._stack.append(reader._load(reader._pop())),
}
"""A handler by opcode. Not in it: NEWOBJ, OBJ, EXT, DUP, text forms of protocol 0, and buffers outside the pickle."""
