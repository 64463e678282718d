"""The weights that a quantized plan stores: compared with the checkpoint's, and dequantized for the reference.

Integers are paired with scales by the graph's nodes, as in the kernels, so that a matrix with the wrong scales is
dequantized wrongly here as well, and differs from the checkpoint. A tensor's name begins with the name of the slot that
it stores, or joins the names of several: `layers.0.attention.q+k+v.weight.int4`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from archc.plan import Manifest, Plan
from archc.plan.dtypes import DTYPES, to_float32
from archc.verify.references import Floats
from archc.verify.report import WeightCheck

_GRAPHS, _WEIGHTS = ("model.onnx", "encoder.onnx"), "weights.bin"
_FLOATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# A weight is rounded by half a step at most, and clipped by another half where the largest integer has no opposite.
# Scales of 16 bits are rounded themselves.
_MOST_STEPS, _MOST_STEPS_HALF = 1.01, 1.5
_MOST_JOINED = 4096  # layers times projections of one tensor
_VIEWS = ("Unsqueeze", "Squeeze", "Reshape", "Identity")

Slots = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class _Use:
    """Integers and their scales, as one node reads them.

    A scale belongs to a block of a row, or without `blocks` to an output channel of a transposed matrix; `zeros` are
    the zero points of 4-bit blocks, two in a byte.
    """

    values: str
    scales: str
    bits: int = 8
    blocks: bool = True
    zeros: str = ""


def load_stored(plan: Plan, slots: Slots) -> WeightCheck | None:
    """Compare a plan's stored weights with a model's, by slot, and load the dequantized ones into the model.

    Returns None, with the model unchanged, if the plan has quantized tensors in a form that is unknown here.
    """
    graphs = [onnx.load_model_from_string(plan.read(name)) for name in _GRAPHS if name in plan.names]
    if not graphs or _WEIGHTS not in plan.names:
        return None
    with plan.mapped(_WEIGHTS) as data:
        tensors = _Tensors(plan.manifest, data)
        uses = list(dict.fromkeys(use for graph in graphs for use in _uses(graph.graph, tensors)))
        pieces = {name: _find_slots(name, slots) for name in tensors.names}
        known = {slot for use in uses for slot in pieces[use.values]}
        if any(not pieces[name] or not known.issuperset(pieces[name]) for name in tensors.quantized):
            return None
        errors = {}
        for use in uses:
            error = _largest_error(tensors, use, [slots[slot] for slot in pieces[use.values]])
            if error is None:
                return None
            errors[use] = error
        equal = {name: _is_equal(tensors, name, slots) for name in tensors.names if name not in tensors.quantized}
        for use in uses:
            _load(tensors, use, [slots[slot] for slot in pieces[use.values]])
    worst = max(errors, key=lambda use: errors[use])
    return WeightCheck(
        matrices=len({use.values for use in uses}),
        others=sum(value is not None for value in equal.values()),
        largest=errors[worst],
        allowed=_MOST_STEPS if plan.manifest.dtype == "float32" else _MOST_STEPS_HALF,
        tensor=worst.values,
        unequal=next((name for name, value in equal.items() if value is False), None),
    )


class _Tensors:
    """The tensors of weights.bin."""

    def __init__(self, manifest: Manifest, data: memoryview) -> None:
        self._tensors, self._data = {tensor.name: tensor for tensor in manifest.tensors}, data

    @property
    def names(self) -> list[str]:
        """The names of all tensors."""
        return list(self._tensors)

    @property
    def quantized(self) -> set[str]:
        """The names of the tensors that are not in a floating-point type of 16 or 32 bits."""
        return {name for name, tensor in self._tensors.items() if tensor.dtype not in _FLOATS}

    def dtype(self, name: str) -> str:
        """Return a tensor's dtype."""
        return self._tensors[name].dtype

    def read(self, name: str) -> NDArray[Any]:
        """Return a copy of a tensor, in the numpy dtype that holds its bits; floating-point types as float32."""
        tensor = self._tensors[name]
        part = self._data[tensor.offset : tensor.offset + tensor.bytes]
        array = np.frombuffer(part, DTYPES[tensor.dtype].storage).copy()
        if tensor.dtype in _FLOATS:
            array = to_float32(array, tensor.dtype)
        return array.reshape(tensor.shape) if array.size == math.prod(tensor.shape) else array

    def dequantize(self, use: _Use) -> tuple[Floats, Floats]:
        """Return a matrix [N, K], and the quantization steps of its elements, which broadcast to [N, K]."""
        integers, scales = self.read(use.values), self.read(use.scales)
        if not use.blocks:
            return (integers.astype(np.float32) * scales).T, np.abs(scales)[:, None]
        if use.bits == 4:
            integers = np.stack([integers & 15, integers >> 4], -1)
        rows, blocks = integers.shape[:2]
        middle: Any = 2 ** (use.bits - 1)
        if use.zeros:
            packed = self.read(use.zeros)
            middle = np.stack([packed & 15, packed >> 4], -1).reshape(rows, -1)[:, :blocks, None].astype(np.float32)
        numbers = integers.reshape(rows, blocks, -1).astype(np.float32) - middle
        steps = np.broadcast_to(scales.reshape(rows, blocks, 1), numbers.shape)
        return (numbers * steps).reshape(rows, -1), np.abs(steps).reshape(rows, -1)


def _uses(graph: onnx.GraphProto, tensors: _Tensors) -> Iterator[_Use]:
    """Give the stored integers and scales that nodes read, those of subgraphs included."""
    nodes = list(_nodes(graph))
    producers = {output: node for node in nodes for output in node.output}
    stored = set(tensors.names)

    def find(node: onnx.NodeProto, index: int) -> str:
        """Return the stored tensor that an input is, or is a view of; an empty name if it is none."""
        name = node.input[index] if index < len(node.input) else ""
        while name not in stored and name in producers and producers[name].op_type in _VIEWS:
            name = producers[name].input[0]
        return name if name in stored else ""

    for node in nodes:
        sizes = {attribute.name: attribute.i for attribute in node.attribute}
        match node.op_type:
            case "MatMulNBits":
                use = _Use(find(node, 1), find(node, 2), sizes.get("bits", 4), zeros=find(node, 3))
            case "GatherBlockQuantized":
                use = _Use(find(node, 0), find(node, 2), sizes.get("bits", 4))
            case "MatMulIntegerToFloat":
                use = _Use(find(node, 1), find(node, 3), blocks=False)
            case _:
                continue
        # The fourth input of the others is a zero point, which archc stores for 4-bit products only.
        has_zeros = use.blocks and bool(find(node, 3))
        if use.values and use.scales and (not has_zeros or (use.zeros and use.bits == 4)):
            yield use


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _find_slots(name: str, slots: Slots) -> list[str]:
    """Return the slots whose rows a tensor stores, in order; none if its name begins with no slot's."""
    pieces = _join_names(name)
    found = [_find_slot(piece, slots) for piece in pieces]
    if len(pieces) > 1 and not all(found):
        found = [_find_slot(piece, slots) for piece in name.split("+")]
    return [slot for slot in found if slot] if all(found) else []


def _join_names(name: str) -> list[str]:
    """Return the names that a joined one stands for: `0.q.w`, `0.k.w`, `1.q.w` and `1.k.w` for `0+1.q+k.w`."""
    words = [word.split("+") for word in name.split(".")]
    if math.prod(map(len, words)) > _MOST_JOINED:
        return [name]
    return [".".join(choice) for choice in product(*words)]


def _find_slot(name: str, slots: Slots) -> str:
    """Return the longest slot name that a name begins with, up to a dot."""
    prefixes = accumulate(name.split("."), lambda prefix, word: f"{prefix}.{word}")
    return max((prefix for prefix in prefixes if prefix in slots), key=len, default="")


def _largest_error(tensors: _Tensors, use: _Use, slots: Sequence[torch.Tensor]) -> float | None:
    """Return the largest error of a stored matrix in its quantization steps; None if its shape is not the slots'."""
    try:
        values, steps = tensors.dequantize(use)
    except ValueError:  # integers and scales whose shapes do not fit
        return None
    if any(slot.ndim != 2 for slot in slots) or values.shape != tuple(torch.cat([*slots]).shape):
        return None
    errors = np.abs(values - torch.cat([*slots]).float().numpy())
    steps = np.broadcast_to(steps, errors.shape)
    in_steps = np.where(steps > 0, errors / np.where(steps > 0, steps, 1), np.where(errors > 0, np.inf, 0))
    return float(np.nan_to_num(in_steps, nan=np.inf, posinf=np.inf).max())


def _is_equal(tensors: _Tensors, name: str, slots: Slots) -> bool | None:
    """Return whether a floating-point tensor equals its slots; None if it does not store them as they are: scales."""
    pieces = _join_names(name)
    if any(piece not in slots for piece in pieces):
        return None
    stored = tensors.read(name)
    expected = torch.cat([slots[piece] for piece in pieces]) if len(pieces) > 1 else slots[name]
    if stored.shape != tuple(expected.shape):
        return None
    return np.array_equal(stored, expected.to(_FLOATS[tensors.dtype(name)]).float().numpy(), equal_nan=True)


def _load(tensors: _Tensors, use: _Use, slots: Sequence[torch.Tensor]) -> None:
    """Copy a dequantized matrix into the slots whose rows it stores."""
    values = torch.from_numpy(np.ascontiguousarray(tensors.dequantize(use)[0]))
    ends = accumulate(len(slot) for slot in slots)
    for slot, end in zip(slots, ends, strict=True):
        slot.copy_(values[end - len(slot) : end])
