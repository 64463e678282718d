"""The tracer: runs a function of tensors several times and writes the operators that it calls as ONNX nodes.

Each run has other sizes for the dynamic axes. Numbers equal in all runs become constants. Integers that differ are
sizes, for which a formula over the axes is inferred. Any other difference between runs is an error, because the trace
would hold for some sizes only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.tensor_adapters import TorchTensor, from_torch_dtype
from torch import Tensor, nn

from archc.compiler.contract.dtypes import torch_dtype
from archc.compiler.contract.types import SIZES, TensorType, sizes_of
from archc.compiler.errors import TraceError
from archc.compiler.graph.builder import op
from archc.compiler.ops.registry import NEW_AXES
from archc.compiler.tracing.dispatch import Call, Run, TensorId, is_symbolic, leaves, map_leaves
from archc.compiler.tracing.registry import TRANSLATIONS
from archc.compiler.tracing.symbolic_sizes import RUNS, Size, Sizes

Function = Callable[[Mapping[str, Tensor]], Sequence[Tensor]]

# Errors of a translation whose operator has arguments that it does not handle.
_UNHANDLED = (TypeError, ValueError, LookupError, AttributeError, AssertionError)


class Recording:
    """A function of named tensors as ONNX nodes: its inputs, the parameters that it reads, and its outputs.

    Raises TraceError if an operator has no translation, or if the trace would not hold for every size of the axes.
    """

    def __init__(self, function: Function, inputs: Mapping[str, TensorType]) -> None:
        self._runs = [Run() for _ in range(RUNS)]
        results = [self._run(function, inputs, index) for index in range(RUNS)]
        self._sizes = Sizes()
        self._values: dict[TensorId, ir.Value] = {}
        self._constants: dict[TensorId, Tensor] = {}
        self.parameters: dict[ir.Value, nn.Parameter] = {}
        self.inputs = [self._input(TensorId(index), name, kind) for index, (name, kind) in enumerate(inputs.items())]
        for calls in _aligned([run.calls for run in self._runs], "the number of operators differs"):
            self._translate(calls)
        self.outputs = [self._value(tensor) for tensor in self._merged(results)]

    def _run(self, function: Function, inputs: Mapping[str, TensorType], index: int) -> list[TensorId]:
        """Run the function on meta tensors of the sizes of one run."""
        run = self._runs[index]
        tensors = {
            name: torch.empty(
                [sizes_of(axis)[index] if isinstance(axis, str) else axis for axis in kind.shape],
                dtype=torch_dtype(kind.dtype),
                device="meta",
            )
            for name, kind in inputs.items()
        }
        for tensor in tensors.values():
            run.id_of(tensor)
        try:
            with torch.no_grad(), run:
                results = function(tensors)
        except (RuntimeError, IndexError) as error:
            sizes = ", ".join(f"{axis} {sizes[index]}" for axis, sizes in SIZES.items())
            raise TraceError(f"the component does not run at the sizes {sizes}: {error}") from error
        return [run.id_of(result) for result in results]

    def _input(self, tensor: TensorId, name: str, kind: TensorType) -> ir.Value:
        value = ir.Value(name=name)
        for index, axis in enumerate(kind.shape):
            if isinstance(axis, str):
                self._sizes.add_axis(axis, value, index)
        return self._assign(tensor, value)

    def _translate(self, calls: Sequence[Call]) -> None:
        """Add the nodes of one operator call, seen in every run."""
        function = _same(
            [call.function for call in calls], "control flow depends on tensor sizes: the operators differ"
        )
        args, kwargs = self._merged([call.args for call in calls]), self._merged([call.kwargs for call in calls])
        results = self._merged([call.results for call in calls])
        if all(self._is_constant(leaf) for leaf in leaves([args, kwargs])):
            self._constants |= {tensor: self._same_numbers(tensor) for tensor in results}
            return
        if function not in TRANSLATIONS:
            raise TraceError(f"{function} has no translation to ONNX; add one to `archc.compiler.tracing.aten`")
        args, kwargs = map_leaves(self._argument, args), map_leaves(self._argument, kwargs)
        try:
            translated = TRANSLATIONS[function](*args, **kwargs)
            values = translated if isinstance(translated, (list, tuple)) else [translated]
            pairs = list(zip(results, values, strict=True))
        except _UNHANDLED as error:
            raise TraceError(f"{function}: these arguments have no translation to ONNX: {error}") from error
        if function in NEW_AXES:
            index, formula = NEW_AXES[function]
            ((tensor, value),) = pairs
            sizes = tuple(run.tensors[tensor.index].shape[index] for run in self._runs)
            self._sizes.add_size(sizes, formula(*args, **kwargs), value, index)
        for tensor, value in pairs:
            if value is not None:
                self._assign(tensor, value)

    def _is_constant(self, leaf: Any) -> bool:
        """Return whether an argument is the same in every call of the graph."""
        if isinstance(leaf, TensorId) and leaf not in self._values and leaf not in self._constants:
            tensors = [run.tensors[leaf.index] for run in self._runs]
            if is_symbolic(tensors[0]):
                self._parameter(leaf, tensors)
            else:
                self._constants[leaf] = self._same_numbers(leaf)
        return leaf in self._constants if isinstance(leaf, TensorId) else not isinstance(leaf, Size)

    def _same_numbers(self, tensor: TensorId) -> Tensor:
        """Return a constant's tensor. Raises TraceError if the runs have different numbers (random ones, say)."""
        first, *others = (run.tensors[tensor.index] for run in self._runs)
        if not all(_equal(first, other) for other in others):
            raise TraceError("a constant has other numbers in each run; compute it when the component is built")
        return first

    def _parameter(self, tensor: TensorId, parameters: Sequence[Tensor]) -> None:
        parameter = parameters[0]
        if not isinstance(parameter, nn.Parameter):
            raise TraceError("a meta tensor is neither an input nor a parameter; register it as a parameter")
        _same(parameters, "the parameters differ")
        self.parameters[self._assign(tensor, ir.Value())] = parameter

    def _argument(self, leaf: Any) -> Any:
        """Return an argument in the form that translations have it."""
        if isinstance(leaf, TensorId):
            return self._value(leaf)
        return from_torch_dtype(leaf) if isinstance(leaf, torch.dtype) else leaf

    def _value(self, tensor: TensorId) -> ir.Value:
        if self._is_constant(tensor) and tensor not in self._values:
            self._assign(tensor, op.Constant(value=TorchTensor(self._constants[tensor].detach())))
        return self._values[tensor]

    def _assign(self, tensor: TensorId, value: ir.Value) -> ir.Value:
        tensors = [run.tensors[tensor.index] for run in self._runs]
        value.type = ir.TensorType(from_torch_dtype(_same([x.dtype for x in tensors], "the dtypes differ")))
        shape = self._merged([list(x.shape) for x in tensors])
        value.shape = ir.Shape([size.formula if isinstance(size, Size) else size for size in shape])
        self._values[tensor] = value
        return value

    def _merged(self, runs: Sequence[Any]) -> Any:
        """Return what all runs have at one place: one value, or a size where integers differ."""
        first = runs[0]
        _same([type(run) for run in runs], "the types of arguments differ")
        if isinstance(first, TensorId):
            return _same(runs, "the tensors differ")
        if isinstance(first, dict):
            _same([set(run) for run in runs], "the arguments differ")
            return {key: self._merged([run[key] for run in runs]) for key in first}
        if isinstance(first, (list, tuple)):
            return [self._merged(parts) for parts in _aligned(runs, "the lengths of lists differ")]
        if type(first) is int and len(set(runs)) > 1:
            return self._sizes.find(tuple(runs))
        return _same(runs, "the arguments differ")


def _equal(first: Tensor, other: Tensor) -> bool:
    """Return whether two constants are the same, where nan equals nan."""
    if first.dtype != other.dtype or first.shape != other.shape:
        return False
    return bool(((first == other) | ((first != first) & (other != other))).all())


def _aligned(runs: Sequence[Sequence[Any]], difference: str) -> Iterator[tuple[Any, ...]]:
    _same([len(run) for run in runs], difference)
    return zip(*runs, strict=True)


def _same(runs: Sequence[Any], difference: str) -> Any:
    """Return the value that all runs have. Raises TraceError that names the difference otherwise."""
    first = runs[0]
    if any(other is not first and (isinstance(first, Tensor) or other != first) for other in runs[1:]):
        raise TraceError(f"the trace holds for some sizes only: {difference}; a component must not branch on sizes")
    return first
