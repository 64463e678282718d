"""What torch computes, as ONNX nodes: operators are noted while a function runs on tensors without numbers.

The function runs several times, each time with other sizes for the named axes. A number that stays is one; a number
that changes is a size, for which a formula over the axes is found; anything else that changes holds for some sizes
only, and is refused. What hangs on nothing but tensors that are there with their numbers is computed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations_with_replacement
from math import prod
from typing import Any, NamedTuple

import onnx_ir as ir
import torch
from onnx_ir.tensor_adapters import TorchTensor, from_torch_dtype
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from compiler.opset import ints, op
from compiler.tensors import SIZES, TensorType
from compiler.translations import TRANSLATIONS

Function = Callable[[Mapping[str, Tensor]], Sequence[Tensor]]

# Arguments that say where and how a tensor lies, which a graph does not.
_PLACEMENT = frozenset({"device", "layout", "pin_memory", "memory_format", "non_blocking"})
_RUNS = len(SIZES["batch"])
_MOST_AXES = 3  # in a product of a formula


@dataclass(frozen=True)
class Size:
    """A size that only a call knows: as an int64 vector of one, and as what it is of the named axes."""

    value: ir.Value
    formula: str


@dataclass(frozen=True)
class _Place:
    """A tensor among all that a run sees."""

    index: int


class _Call(NamedTuple):
    """An operator that was called, and what it was called with and gave."""

    function: Any
    args: Any
    kwargs: Any
    results: list[_Place]


class _Run(TorchDispatchMode):
    """Notes every call while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []
        # Every tensor is kept, so that no other one gets its identity.
        self.tensors: list[Tensor] = []
        self._places: dict[int, _Place] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not, since that loads all of torch's compiler only to keep it away from here, where nothing calls it."""
        return False

    def place(self, tensor: Tensor) -> _Place:
        """Where a tensor is among all."""
        if id(tensor) not in self._places:
            self._places[id(tensor)] = _Place(len(self.tensors))
            self.tensors.append(tensor)
        return self._places[id(tensor)]

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given, named = list(args), dict(kwargs or {})
        noted = _map(self._noted, given), _map(self._noted, {k: v for k, v in named.items() if k not in _PLACEMENT})
        if any(isinstance(leaf, Tensor) and _numberless(leaf) for leaf in _leaves([given, named])):
            result = _shaped(function, given, named)
        else:
            if named.get("device") is not None:
                named["device"] = torch.device("cpu")
            result = function(*given, **named)
        results = result if isinstance(result, (list, tuple)) else [result]
        self.calls.append(_Call(function, *noted, [self.place(tensor) for tensor in results]))
        return result

    def _noted(self, argument: Any) -> Any:
        return self.place(argument) if isinstance(argument, Tensor) else argument


class Recording:
    """A function of named tensors as nodes: its inputs, the parameters that it reads, and its outputs, as values.

    Raises NotImplementedError if it calls what has no translation, or computes something else for other sizes.
    """

    def __init__(self, function: Function, inputs: Mapping[str, TensorType]) -> None:
        self._runs = [_Run() for _ in range(_RUNS)]
        ends = [self._run(function, inputs, index) for index in range(_RUNS)]
        self._sizes: dict[tuple[int, ...], Size] = {}
        self._values: dict[_Place, ir.Value] = {}
        self._known: dict[_Place, Tensor] = {}
        self.parameters: dict[ir.Value, nn.Parameter] = {}
        self.inputs = [self._input(_Place(index), name, kind) for index, (name, kind) in enumerate(inputs.items())]
        for calls in _together([run.calls for run in self._runs], "the operators"):
            self._translate(calls)
        self.outputs = [self._value(place) for place in self._settled(ends)]

    def _run(self, function: Function, inputs: Mapping[str, TensorType], index: int) -> list[_Place]:
        run = self._runs[index]
        given = {
            name: torch.empty(
                [SIZES[axis][index] if isinstance(axis, str) else axis for axis in kind.shape],
                dtype=kind.dtype,
                device="meta",
            )
            for name, kind in inputs.items()
        }
        for tensor in given.values():
            run.place(tensor)
        with torch.no_grad(), run:
            results = function(given)
        return [run.place(result) for result in results]

    def _input(self, place: _Place, name: str, kind: TensorType) -> ir.Value:
        value = ir.Value(name=name)
        for index, axis in enumerate(kind.shape):
            if isinstance(axis, str) and SIZES[axis] not in self._sizes:
                self._sizes[SIZES[axis]] = Size(op.Shape(value, start=index, end=index + 1), axis)
        return self._assign(place, value)

    def _translate(self, calls: Sequence[_Call]) -> None:
        """Adds the nodes of one call, as the runs have it."""
        function = _same([call.function for call in calls], "the operators")
        args, kwargs = self._settled([call.args for call in calls]), self._settled([call.kwargs for call in calls])
        results = self._settled([call.results for call in calls])
        leaves = list(_leaves([args, kwargs]))
        if all(self._is_known(leaf) for leaf in leaves):
            self._known |= {place: self._runs[0].tensors[place.index] for place in results}
            return
        if function not in TRANSLATIONS:
            raise NotImplementedError(f"{function} has no translation to ONNX")
        translated = TRANSLATIONS[function](*_map(self._argument, args), **_map(self._argument, kwargs))
        values = translated if isinstance(translated, (list, tuple)) else [translated]
        for place, value in zip(results, values, strict=True):
            if value is not None:
                self._assign(place, value)

    def _is_known(self, leaf: Any) -> bool:
        """Whether an argument's numbers are there, and the same for all sizes."""
        if isinstance(leaf, _Place) and leaf not in self._values and leaf not in self._known:
            seen = [run.tensors[leaf.index] for run in self._runs]
            if _numberless(seen[0]):
                self._parameter(leaf, seen)
            elif all(seen[0].dtype == other.dtype and torch.equal(seen[0], other) for other in seen):
                self._known[leaf] = seen[0]
            else:
                raise NotImplementedError("the trace holds for some sizes only: numbers from outside change with them")
        return leaf in self._known if isinstance(leaf, _Place) else not isinstance(leaf, Size)

    def _parameter(self, place: _Place, seen: Sequence[Tensor]) -> None:
        parameter = seen[0]
        if not isinstance(parameter, nn.Parameter):
            raise NotImplementedError("a tensor without numbers comes from outside the trace and is no parameter")
        _same(seen, "parameters")
        self.parameters[self._assign(place, ir.Value())] = parameter

    def _argument(self, leaf: Any) -> Any:
        """An argument of a torch operator as its translation takes it."""
        if isinstance(leaf, _Place):
            return self._value(leaf)
        return from_torch_dtype(leaf) if isinstance(leaf, torch.dtype) else leaf

    def _value(self, place: _Place) -> ir.Value:
        if self._is_known(place) and place not in self._values:
            self._assign(place, op.Constant(value=TorchTensor(self._known[place].detach())))
        return self._values[place]

    def _assign(self, place: _Place, value: ir.Value) -> ir.Value:
        tensors = [run.tensors[place.index] for run in self._runs]
        value.type = ir.TensorType(from_torch_dtype(_same([tensor.dtype for tensor in tensors], "dtypes")))
        shape = self._settled([list(tensor.shape) for tensor in tensors])
        value.shape = ir.Shape([size.formula if isinstance(size, Size) else size for size in shape])
        self._values[place] = value
        return value

    def _settled(self, runs: Sequence[Any]) -> Any:
        """What the runs have in one place: the same in all of them, or a size."""
        first = runs[0]
        if isinstance(first, _Place):
            return _same(runs, "tensors")
        if isinstance(first, dict):
            return {key: self._settled([run[key] for run in runs]) for key in first}
        if isinstance(first, (list, tuple)):
            return [self._settled(parts) for parts in _together(runs, "lists")]
        if isinstance(first, int) and not isinstance(first, bool) and len(set(runs)) > 1:
            return self._size(tuple(runs))
        return _same(runs, "arguments")

    def _size(self, found: tuple[int, ...]) -> Size:
        """A size as factor · product of axes + rest, from what it is in each run."""
        if found not in self._sizes:
            axes = [(sizes, size) for sizes, size in self._sizes.items() if size.formula in SIZES]
            for count in range(1, _MOST_AXES + 1):
                for chosen in combinations_with_replacement(axes, count):
                    products = [prod(sizes[run] for sizes, _ in chosen) for run in range(_RUNS)]
                    factor, remains = divmod(found[0] - found[1], products[0] - products[1])
                    rest = found[0] - factor * products[0]
                    if remains or any(factor * p + rest != n for p, n in zip(products, found, strict=True)):
                        continue
                    self._sizes[found] = _affine([size for _, size in chosen], factor, rest)
                    return self._sizes[found]
            raise NotImplementedError(f"the trace holds for some sizes only: no formula gives {found}")
        return self._sizes[found]


def _affine(axes: Sequence[Size], factor: int, rest: int) -> Size:
    value, formula = reduce(op.Mul, (axis.value for axis in axes)), " * ".join(axis.formula for axis in axes)
    if factor != 1:
        value, formula = op.Mul(value, ints(factor)), f"{factor} * {formula}"
    if rest:
        value, formula = op.Add(value, ints(rest)), f"{formula} + {rest}"
    return Size(value, formula)


def _numberless(tensor: Tensor) -> bool:
    return tensor.is_meta or isinstance(tensor, nn.Parameter)


def _shaped(function: Any, given: list[Any], named: dict[str, Any]) -> Any:
    """What an operator gives, without numbers.

    Operators of our own say it themselves. For torch's, the numbers are zeros: to work without any, torch would load
    its compiler.
    """
    if function._schema.is_mutable:
        raise NotImplementedError(f"{function} changes a tensor in place, which ONNX has no word for")
    if function.namespace != "aten":
        return function(*_map(_without_numbers, given), **_map(_without_numbers, named))
    if named.get("device") is not None:
        named["device"] = torch.device("cpu")
    return _map(_without_numbers, function(*_map(_zeros, given), **_map(_zeros, named)))


def _zeros(argument: Any) -> Any:
    """A tensor without numbers as one that has its shape and takes no room."""
    if isinstance(argument, Tensor) and _numberless(argument):
        return torch.zeros((), dtype=argument.dtype).expand(argument.shape)
    return argument


def _without_numbers(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return torch.empty(argument.shape, dtype=argument.dtype, device="meta")
    return argument


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _map(function, part) for key, part in tree.items()}
    return [_map(function, part) for part in tree] if type(tree) in (list, tuple) else function(tree)


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if type(tree) not in (list, tuple):
        yield tree
        return
    for part in tree:
        yield from _leaves(part)


def _together(runs: Sequence[Sequence[Any]], what: str) -> Iterator[tuple[Any, ...]]:
    _same([len(run) for run in runs], f"the number of {what}")
    return zip(*runs, strict=True)


def _same(runs: Sequence[Any], what: str) -> Any:
    """What all runs have. Raises NotImplementedError if they differ."""
    first = runs[0]
    if any(other is not first and (isinstance(first, Tensor) or other != first) for other in runs[1:]):
        raise NotImplementedError(f"the trace holds for some sizes only: {what} change with them")
    return first
