"""Recording of operator calls: a torch dispatch mode that lists what a function calls.

Inputs and parameters are symbolic: a shape and a dtype, without data. Operators whose arguments are all constants run
as usual (constant folding).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archc.compiler.errors import TraceError

# Keyword arguments about memory: device and layout have no meaning in a graph.
_MEMORY_KWARGS = frozenset({"device", "layout", "pin_memory", "memory_format", "non_blocking"})
_aten = torch.ops.aten


@dataclass(frozen=True)
class TensorId:
    """Identity of a tensor in one run: its index in order of first use."""

    index: int


class Call(NamedTuple):
    """One operator call; tensors in its arguments and results are represented by their ids."""

    function: Any
    args: Any
    kwargs: Any
    results: list[TensorId]


class Run(TorchDispatchMode):
    """Dispatch mode that records every operator call of one run of a function.

    Raises TraceError for an operator that writes to one of its arguments.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        # References to all tensors, so that Python does not reuse the id of a freed one.
        self.tensors: list[Tensor] = []
        self._ids: dict[int, TensorId] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: the default imports torch's compiler, which this mode never uses."""
        return False

    def id_of(self, tensor: Tensor) -> TensorId:
        """Return the tensor's id; a new tensor gets the next one."""
        if id(tensor) not in self._ids:
            self._ids[id(tensor)] = TensorId(len(self.tensors))
            self.tensors.append(tensor)
        return self._ids[id(tensor)]

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if function._schema.is_mutable:
            # Constants too: they are read after the run, when a write has already changed them.
            raise TraceError(f"{function}: in-place operators are not supported; use one that returns a new tensor")
        args, kwargs = list(args), dict(kwargs or {})
        recorded_kwargs = {name: value for name, value in kwargs.items() if name not in _MEMORY_KWARGS}
        recorded_args, recorded_kwargs = map_leaves(self._id_if_tensor, [args, recorded_kwargs])
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("cpu")
        if any(isinstance(leaf, Tensor) and is_symbolic(leaf) for leaf in leaves([args, kwargs])):
            result = _symbolic_result(function, args, kwargs)
        else:
            result = function(*args, **kwargs)
        results = [self.id_of(leaf) for leaf in leaves(result) if isinstance(leaf, Tensor)]
        self.calls.append(Call(function, recorded_args, recorded_kwargs, results))
        return result

    def _id_if_tensor(self, argument: Any) -> Any:
        return self.id_of(argument) if isinstance(argument, Tensor) else argument


def is_symbolic(tensor: Tensor) -> bool:
    """Return whether a tensor has no data in a trace: an input, a parameter, or computed from one."""
    return tensor.is_meta or isinstance(tensor, nn.Parameter)


def _symbolic_result(function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Return an operator's result as meta tensors.

    Custom operators have a fake body. Torch's own operators run on zeros, because their meta bodies import torch's
    compiler (0.9 s). An element-wise operator runs on one element of each argument and its shape is the broadcast one:
    logits of a real vocabulary would take gigabytes.
    """
    if function.namespace != "aten":
        return function(*map_leaves(_to_meta, args), **map_leaves(_to_meta, kwargs))
    if torch.Tag.pointwise in function.tags or function is _aten._to_copy.default:
        shape = torch.broadcast_shapes(*(x.shape for x in leaves([args, kwargs]) if isinstance(x, Tensor)))
        element = function(*map_leaves(_one_element, args), **map_leaves(_one_element, kwargs))
        return map_leaves(lambda x: torch.empty(shape, dtype=x.dtype, device="meta"), element)
    return map_leaves(_to_meta, function(*map_leaves(_to_zeros, args), **map_leaves(_to_zeros, kwargs)))


def _to_zeros(argument: Any) -> Any:
    """Return a symbolic tensor as zeros of its shape that share one element of memory."""
    if isinstance(argument, Tensor) and is_symbolic(argument):
        return torch.zeros((), dtype=argument.dtype).expand(argument.shape)
    return argument


def _one_element(argument: Any) -> Any:
    """Return a tensor as a one of its rank, on which type promotion depends; integers are not divided by zero."""
    return torch.ones([1] * argument.ndim, dtype=argument.dtype) if isinstance(argument, Tensor) else argument


def _to_meta(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return torch.empty(argument.shape, dtype=argument.dtype, device="meta")
    return argument


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return nested lists and dicts with `function` applied to every leaf; tuples become lists."""
    if isinstance(tree, dict):
        return {key: map_leaves(function, part) for key, part in tree.items()}
    return [map_leaves(function, part) for part in tree] if type(tree) in (list, tuple) else function(tree)


def leaves(tree: Any) -> Iterator[Any]:
    """Yield the leaves of nested lists and dicts."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if type(tree) not in (list, tuple):
        yield tree
        return
    for part in tree:
        yield from leaves(part)
