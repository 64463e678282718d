"""What torch computes, as ONNX nodes: every operator that runs under a recorder is translated where it is called.

Inputs are tensors without numbers whose named axes are symbols, so that what is recorded holds for every size; tensors
that are there with their numbers become constants, and what is computed of them alone is computed at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.tensor_adapters import TorchTensor, from_torch_dtype
from sympy import Add, Mul
from torch import Tensor
from torch._guards import Source
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._sympy.functions import FloorDiv

from compiler.opset import ints, op
from compiler.tensors import SIZES, TensorType
from compiler.translations import TRANSLATIONS

# Arguments that say where and how a tensor lies, which a graph does not.
_PLACEMENT = frozenset({"device", "layout", "pin_memory", "memory_format", "non_blocking"})


@dataclass(frozen=True)
class Size:
    """A size that only a call knows: as an int64 vector of one, and as what it is of the named axes."""

    value: ir.Value
    formula: str


@dataclass(frozen=True)
class _Axis(Source):
    """Where a symbol comes from."""

    axis: str

    @property
    def _name_template(self) -> str:
        return self.axis


class Recorder(TorchDispatchMode):
    """Records as long as it is entered. `inputs` are tensors to compute with, `graph_inputs` their values in order."""

    def __init__(self, inputs: Mapping[str, TensorType]) -> None:
        super().__init__()
        self._shapes = ShapeEnv()
        self._fakes = FakeTensorMode(shape_env=self._shapes, allow_non_fake_inputs=True)
        axes = list(dict.fromkeys(axis for kind in inputs.values() for axis in kind.shape if isinstance(axis, str)))
        example = torch.zeros([SIZES[axis] for axis in axes])
        every: StatelessSymbolicContext[Any, Any] = StatelessSymbolicContext(
            dynamic_sizes=[DimDynamic.DYNAMIC] * len(axes)
        )
        symbols: Sequence[Any] = self._fakes.from_tensor(example, source=_Axis("axes"), symbolic_context=every).shape
        self._symbols = dict(zip(axes, symbols, strict=True))
        self._sizes: dict[Any, Size] = {}
        # By identity, each with its tensor, so that no other tensor gets the same one.
        self._values: dict[int, tuple[Tensor, ir.Value]] = {}
        self._parameters: dict[int, Tensor] = {}
        self.graph_inputs: list[ir.Value] = []
        self.parameters: dict[ir.Value, Tensor] = {}
        self.inputs = {name: self._input(name, kind) for name, kind in inputs.items()}

    def _input(self, name: str, kind: TensorType) -> Tensor:
        value = ir.Value(name=name)
        shape = [self._symbols[axis] if isinstance(axis, str) else axis for axis in kind.shape]
        with self._fakes:
            tensor = torch.empty(shape, dtype=kind.dtype)
        self._assign(tensor, value)
        for place, axis in enumerate(kind.shape):
            if isinstance(axis, str):
                symbol = self._symbols[axis].node.expr
                if symbol not in self._sizes:
                    self._sizes[symbol] = Size(op.Shape(value, start=place, end=place + 1), str(symbol))
        self.graph_inputs.append(value)
        return tensor

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not any(_unknown(argument) for argument in (*args, *kwargs.values())):
            return function(*args, **kwargs)
        args, kwargs = _map(self._fake, list(args)), _map(self._fake, dict(kwargs))
        with self._fakes:
            result = function(*args, **kwargs)
        if function is torch.ops.prim.device.default:
            return result
        if function._schema.is_mutable or function not in TRANSLATIONS:
            raise NotImplementedError(f"{function} has no translation to ONNX")
        translated = TRANSLATIONS[function](
            *(_map(self._symbolic, argument) for argument in args),
            **{name: _map(self._symbolic, value) for name, value in kwargs.items() if name not in _PLACEMENT},
        )
        many = isinstance(result, (list, tuple))
        for tensor, value in zip(result if many else [result], translated if many else [translated], strict=True):
            if value is not None:
                self._assign(tensor, value)
        return result

    def value(self, tensor: Tensor) -> ir.Value:
        """The value of a tensor that was given, made, or is there with its numbers."""
        tensor = self._fake(tensor)
        if id(tensor) not in self._values:
            if tensor.is_meta or isinstance(tensor, FakeTensor):
                raise NotImplementedError("a tensor without numbers comes from outside the trace")
            self._assign(tensor, op.Constant(value=TorchTensor(tensor.detach())))
        return self._values[id(tensor)][1]

    def check_general(self) -> None:
        """Raises NotImplementedError if what ran depends on the example's sizes."""
        if self._shapes.replacements or self._shapes.guards:
            raise NotImplementedError(f"the trace holds for some sizes only: {self._shapes.format_guards()}")

    def _fake(self, argument: Any) -> Any:
        """The argument, a parameter as a tensor that has its shape and nothing else."""
        if not isinstance(argument, torch.nn.Parameter):
            return argument
        if id(argument) not in self._parameters:
            with self._fakes:
                fake = torch.empty(argument.shape, dtype=argument.dtype)
            value = ir.Value()
            self._assign(fake, value)
            self.parameters[value] = argument
            self._parameters[id(argument)] = fake
        return self._parameters[id(argument)]

    def _symbolic(self, argument: Any) -> Any:
        """An argument of a torch operator as its translation takes it."""
        if isinstance(argument, Tensor):
            return self.value(argument)
        if isinstance(argument, torch.dtype):
            return from_torch_dtype(argument)
        return self._size(argument.node.expr) if isinstance(argument, torch.SymInt) else argument

    def _size(self, formula: Any) -> Size:
        """A size by its formula, which is sympy's."""
        if formula not in self._sizes:
            if formula.is_Integer:
                value = ints(int(formula))
            elif isinstance(formula, (Add, Mul, FloorDiv)):
                operator = {Add: op.Add, Mul: op.Mul, FloorDiv: op.Div}[formula.func]
                value = reduce(operator, (self._size(part).value for part in formula.args))
            else:
                raise NotImplementedError(f"a size of {formula} has no translation to ONNX")
            self._sizes[formula] = Size(value, str(formula))
        return self._sizes[formula]

    def _assign(self, tensor: Tensor, value: ir.Value) -> None:
        value.type = ir.TensorType(from_torch_dtype(tensor.dtype))
        sizes: Sequence[Any] = tensor.shape
        value.shape = ir.Shape([str(size.node.expr) if isinstance(size, torch.SymInt) else size for size in sizes])
        self._values[id(tensor)] = tensor, value


def _unknown(argument: Any) -> bool:
    """Whether an argument's numbers are not there while recording."""
    if isinstance(argument, (list, tuple)):
        return any(_unknown(part) for part in argument)
    return isinstance(argument, (FakeTensor, torch.SymInt, torch.nn.Parameter))


def _map(function: Any, argument: Any) -> Any:
    if isinstance(argument, dict):
        return {name: _map(function, part) for name, part in argument.items()}
    if isinstance(argument, (list, tuple)):
        return [_map(function, part) for part in argument]
    return function(argument)
