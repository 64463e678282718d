"""The closed list of names in pickled checkpoints, and the values that stand for them: strided views of storages."""

from __future__ import annotations

from dataclasses import dataclass

from archc.compiler.weights.checkpoint.pickled.opcodes import Name, PickleError, add_items

_MAX_AXES = 64
_MAX_ELEMENTS = 2**62


@dataclass(frozen=True)
class Storage:
    """A buffer of `count` elements, named by a key; `typed` is False if tensors choose the dtype."""

    key: str
    dtype: str
    count: int
    typed: bool


@dataclass(frozen=True)
class PickledTensor:
    """A strided view of a storage; offset and stride are in elements."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def storage_of(persistent_id: object) -> Storage:
    """Return the storage of a persistent id ("storage", type, key, location, count[, None]).

    Raises PickleError for any other.
    """
    match persistent_id:
        case ("storage", Name(dtype=str(dtype)) as name, str(key), _, int(count), *rest):
            if rest in ([], [None]) and 0 <= count < _MAX_ELEMENTS and len(key) < _MAX_AXES:
                return Storage(key, dtype, count, not name.text.endswith("UntypedStorage"))
        case ("module", *_):
            raise PickleError("a whole pickled module")
    raise PickleError("a persistent id that is not a storage")


def _tensor(args: tuple[object, ...]) -> PickledTensor:
    match args:
        case (Storage(typed=True) as storage, int(offset), tuple(shape), tuple(stride), *rest):
            metadata = rest[2] if len(rest) > 2 else None
            return _view(storage, storage.dtype, offset, shape, stride, metadata)
    raise PickleError("a tensor with arguments that are not a storage, offset, shape and stride")


def _tensor_of_dtype(args: tuple[object, ...]) -> PickledTensor:
    match args:
        case (Storage() as storage, int(offset), tuple(shape), tuple(stride), _, _, Name(dtype=str(dtype)), *rest):
            return _view(storage, dtype, offset, shape, stride, rest[0] if rest else None)
    raise PickleError("a tensor with arguments that are not a storage, offset, shape, stride and dtype")


def _view(
    storage: Storage,
    dtype: str,
    offset: int,
    shape: tuple[object, ...],
    stride: tuple[object, ...],
    metadata: object,
) -> PickledTensor:
    if len(shape) != len(stride) or len(shape) > _MAX_AXES:
        raise PickleError(f"a tensor with {len(shape)} axes and {len(stride)} strides")
    sizes, steps = [*map(_size, shape)], [*map(_size, stride)]
    if isinstance(metadata, dict) and any(metadata.get(key) for key in ("neg", "conj")):
        raise PickleError("a tensor that is stored negated or conjugated")
    return PickledTensor(storage, dtype, _size(offset), tuple(sizes), tuple(steps))


def _size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_ELEMENTS:
        raise PickleError("a tensor whose sizes, strides or offset are not integers from 0 to 2^62")
    return value


def _parameter(args: tuple[object, ...]) -> PickledTensor:
    if args and isinstance(args[0], PickledTensor):
        return args[0]
    raise PickleError("a parameter that is not a tensor")


def _tensor_of_type(args: tuple[object, ...]) -> object:
    match args:
        case (Name(build=build), Name(text="torch.Tensor" | "torch.nn.parameter.Parameter"), tuple(inner), *_) if (
            build in (_tensor, _tensor_of_dtype)
        ):
            return build(inner)
    raise PickleError("a tensor of a class of its own")


def _table(args: tuple[object, ...]) -> dict[str, object]:
    table: dict[str, object] = {}
    match args:
        case ():
            return table
        case (list(pairs),):
            for pair in pairs:
                if not isinstance(pair, list | tuple) or len(pair) != 2:
                    raise PickleError("a table of items that are not pairs")
                add_items(table, [pair[0]], [pair[1]])
            return table
    raise PickleError("a table of items that are not pairs")


def _size_tuple(args: tuple[object, ...]) -> tuple[object, ...]:
    match args:
        case (tuple(sizes) | list(sizes),):
            return tuple(sizes)
    raise PickleError("a shape that is not a list of sizes")


def _nothing(args: tuple[object, ...]) -> None:
    """Stand for a value that no weight is made of: a device, bytes, or a set."""


_DTYPES = {
    "float64": "F64",
    "double": "F64",
    "float32": "F32",
    "float": "F32",
    "float16": "F16",
    "half": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
    "complex64": "C64",
    "complex128": "C128",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}
_STORAGES = {
    "Double": "F64",
    "Float": "F32",
    "Half": "F16",
    "BFloat16": "BF16",
    "Long": "I64",
    "Int": "I32",
    "Short": "I16",
    "Char": "I8",
    "Byte": "U8",
    "Bool": "BOOL",
    "ComplexFloat": "C64",
    "ComplexDouble": "C128",
}
_CALLS = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _tensor_of_type,
    "collections.OrderedDict": _table,
    "torch.Size": _size_tuple,
    "torch.device": _nothing,
    "_codecs.encode": _nothing,
    "builtins.set": _nothing,
    "__builtin__.set": _nothing,
}

NAMES: dict[str, Name] = {
    name.text: name
    for name in (
        *(Name(text, build=build) for text, build in _CALLS.items()),
        *(Name(f"torch.{text}", dtype=dtype) for text, dtype in _DTYPES.items()),
        *(
            Name(f"{module}.{text}Storage", dtype=dtype)
            for text, dtype in _STORAGES.items()
            for module in ("torch", "torch.cuda")
        ),
        Name("torch.storage.UntypedStorage", dtype="U8"),
        Name("torch.storage._UntypedStorage", dtype="U8"),
        Name("torch.Tensor"),
        Name("torch.nn.parameter.Parameter"),
    )
}
"""Every name that a checkpoint may refer to; any other is refused."""
