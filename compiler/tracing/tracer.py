"""What torch computes, as ONNX nodes: operators are noted while a function runs on tensors without numbers.

The function runs several times, each time with other sizes for the named axes. A number that stays is one; a number
that changes is a size, for which a formula over the axes is found; anything else that changes holds for some sizes
only, and is refused. What hangs on nothing but tensors that are there with their numbers is computed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.tensor_adapters import TorchTensor, from_torch_dtype
from torch import Tensor, nn

from archc.compiler.contract.types import SIZES, TensorType
from archc.compiler.errors import TraceError
from archc.compiler.graph.opset import op
from archc.compiler.tracing.dispatch import Call, Place, Run, is_numberless, leaves, map_leaves
from archc.compiler.tracing.registry import TRANSLATIONS
from archc.compiler.tracing.symbolic_sizes import RUNS, Size, Sizes

Function = Callable[[Mapping[str, Tensor]], Sequence[Tensor]]


class Recording:
    """A function of named tensors as nodes: its inputs, the parameters that it reads, and its outputs, as values.

    Raises TraceError if it calls what has no translation, or computes something else for other sizes.
    """

    def __init__(self, function: Function, inputs: Mapping[str, TensorType]) -> None:
        self._runs = [Run() for _ in range(RUNS)]
        ends = [self._run(function, inputs, index) for index in range(RUNS)]
        self._sizes = Sizes()
        self._values: dict[Place, ir.Value] = {}
        self._known: dict[Place, Tensor] = {}
        self.parameters: dict[ir.Value, nn.Parameter] = {}
        self.inputs = [self._input(Place(index), name, kind) for index, (name, kind) in enumerate(inputs.items())]
        for calls in _together([run.calls for run in self._runs], "the operators"):
            self._translate(calls)
        self.outputs = [self._value(place) for place in self._settled(ends)]

    def _run(self, function: Function, inputs: Mapping[str, TensorType], index: int) -> list[Place]:
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

    def _input(self, place: Place, name: str, kind: TensorType) -> ir.Value:
        value = ir.Value(name=name)
        for index, axis in enumerate(kind.shape):
            if isinstance(axis, str):
                self._sizes.add_axis(axis, value, index)
        return self._assign(place, value)

    def _translate(self, calls: Sequence[Call]) -> None:
        """Adds the nodes of one call, as the runs have it."""
        function = _same([call.function for call in calls], "the operators")
        args, kwargs = self._settled([call.args for call in calls]), self._settled([call.kwargs for call in calls])
        results = self._settled([call.results for call in calls])
        known = [self._is_known(leaf) for leaf in leaves([args, kwargs])]
        if all(known):
            self._known |= {place: self._runs[0].tensors[place.index] for place in results}
            return
        if function not in TRANSLATIONS:
            raise TraceError(f"{function} has no translation to ONNX")
        translated = TRANSLATIONS[function](*map_leaves(self._argument, args), **map_leaves(self._argument, kwargs))
        values = translated if isinstance(translated, (list, tuple)) else [translated]
        for place, value in zip(results, values, strict=True):
            if value is not None:
                self._assign(place, value)

    def _is_known(self, leaf: Any) -> bool:
        """Whether an argument's numbers are there, and the same for all sizes."""
        if isinstance(leaf, Place) and leaf not in self._values and leaf not in self._known:
            seen = [run.tensors[leaf.index] for run in self._runs]
            if is_numberless(seen[0]):
                self._parameter(leaf, seen)
            elif all(seen[0].dtype == other.dtype and torch.equal(seen[0], other) for other in seen):
                self._known[leaf] = seen[0]
            else:
                raise TraceError("the trace holds for some sizes only: numbers from outside change with them")
        return leaf in self._known if isinstance(leaf, Place) else not isinstance(leaf, Size)

    def _parameter(self, place: Place, seen: Sequence[Tensor]) -> None:
        parameter = seen[0]
        if not isinstance(parameter, nn.Parameter):
            raise TraceError("a tensor without numbers comes from outside the trace and is no parameter")
        _same(seen, "parameters")
        self.parameters[self._assign(place, ir.Value())] = parameter

    def _argument(self, leaf: Any) -> Any:
        """An argument of a torch operator as its translation takes it."""
        if isinstance(leaf, Place):
            return self._value(leaf)
        return from_torch_dtype(leaf) if isinstance(leaf, torch.dtype) else leaf

    def _value(self, place: Place) -> ir.Value:
        if self._is_known(place) and place not in self._values:
            self._assign(place, op.Constant(value=TorchTensor(self._known[place].detach())))
        return self._values[place]

    def _assign(self, place: Place, value: ir.Value) -> ir.Value:
        tensors = [run.tensors[place.index] for run in self._runs]
        value.type = ir.TensorType(from_torch_dtype(_same([tensor.dtype for tensor in tensors], "dtypes")))
        shape = self._settled([list(tensor.shape) for tensor in tensors])
        value.shape = ir.Shape([size.formula if isinstance(size, Size) else size for size in shape])
        self._values[place] = value
        return value

    def _settled(self, runs: Sequence[Any]) -> Any:
        """What the runs have in one place: the same in all of them, or a size."""
        first = runs[0]
        if isinstance(first, Place):
            return _same(runs, "tensors")
        if isinstance(first, dict):
            return {key: self._settled([run[key] for run in runs]) for key in first}
        if isinstance(first, (list, tuple)):
            return [self._settled(parts) for parts in _together(runs, "lists")]
        if isinstance(first, int) and not isinstance(first, bool) and len(set(runs)) > 1:
            return self._sizes.find(tuple(runs))
        return _same(runs, "arguments")


def _together(runs: Sequence[Sequence[Any]], what: str) -> Iterator[tuple[Any, ...]]:
    _same([len(run) for run in runs], f"the number of {what}")
    return zip(*runs, strict=True)


def _same(runs: Sequence[Any], what: str) -> Any:
    """What all runs have. Raises TraceError if they differ."""
    first = runs[0]
    if any(other is not first and (isinstance(first, Tensor) or other != first) for other in runs[1:]):
        raise TraceError(f"the trace holds for some sizes only: {what} change with them")
    return first
