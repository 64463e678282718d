"""The operators that a function calls, noted while it runs on tensors without numbers.

What hangs on nothing but tensors that are there with their numbers is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archc.compiler.errors import TraceError

# Arguments that say where and how a tensor lies, which a graph does not.
_PLACEMENT = frozenset({"device", "layout", "pin_memory", "memory_format", "non_blocking"})


@dataclass(frozen=True)
class Place:
    """A tensor among all that a run sees."""

    index: int


class Call(NamedTuple):
    """An operator that was called, and what it was called with and gave."""

    function: Any
    args: Any
    kwargs: Any
    results: list[Place]


class Run(TorchDispatchMode):
    """Notes every call while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        # Every tensor is kept, so that no other one gets its identity.
        self.tensors: list[Tensor] = []
        self._places: dict[int, Place] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not, since that loads all of torch's compiler only to keep it away from here, where nothing calls it."""
        return False

    def place(self, tensor: Tensor) -> Place:
        """Where a tensor is among all."""
        if id(tensor) not in self._places:
            self._places[id(tensor)] = Place(len(self.tensors))
            self.tensors.append(tensor)
        return self._places[id(tensor)]

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given, named = list(args), dict(kwargs or {})
        noted, noted_names = map_leaves(self._noted, given), map_leaves(self._noted, _placeless(named))
        if named.get("device") is not None:
            named["device"] = torch.device("cpu")
        if any(isinstance(leaf, Tensor) and is_numberless(leaf) for leaf in leaves([given, named])):
            result = _shaped(function, given, named)
        else:
            result = function(*given, **named)
        results = result if isinstance(result, (list, tuple)) else [result]
        self.calls.append(Call(function, noted, noted_names, [self.place(tensor) for tensor in results]))
        return result

    def _noted(self, argument: Any) -> Any:
        return self.place(argument) if isinstance(argument, Tensor) else argument


def _placeless(named: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in named.items() if name not in _PLACEMENT}


def is_numberless(tensor: Tensor) -> bool:
    """Whether a tensor stands for any numbers: an input, a parameter, or what was made of them."""
    return tensor.is_meta or isinstance(tensor, nn.Parameter)


def _shaped(function: Any, given: list[Any], named: dict[str, Any]) -> Any:
    """What an operator gives, without numbers.

    Operators of our own say it themselves. For torch's, the numbers are zeros: to work without any, torch would load
    its compiler.
    """
    if function._schema.is_mutable:
        raise TraceError(f"{function} changes a tensor in place, which ONNX has no word for")
    if function.namespace != "aten":
        return function(*map_leaves(_without_numbers, given), **map_leaves(_without_numbers, named))
    return map_leaves(_without_numbers, function(*map_leaves(_zeros, given), **map_leaves(_zeros, named)))


def _zeros(argument: Any) -> Any:
    """A tensor without numbers as one that has its shape and takes no room."""
    if isinstance(argument, Tensor) and is_numberless(argument):
        return torch.zeros((), dtype=argument.dtype).expand(argument.shape)
    return argument


def _without_numbers(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return torch.empty(argument.shape, dtype=argument.dtype, device="meta")
    return argument


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same lists and dicts, of what the function makes of what is in them."""
    if isinstance(tree, dict):
        return {key: map_leaves(function, part) for key, part in tree.items()}
    return [map_leaves(function, part) for part in tree] if type(tree) in (list, tuple) else function(tree)


def leaves(tree: Any) -> Iterator[Any]:
    """What is in lists and dicts and is neither."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if type(tree) not in (list, tuple):
        yield tree
        return
    for part in tree:
        yield from leaves(part)
