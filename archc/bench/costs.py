"""The least that calls of a plan must read and compute, from its manifest alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from archc.plan.axes import has_slots
from archc.plan.dtypes import DTYPES
from archc.plan.manifest import Manifest
from archc.plan.records import State, Tensor

_ENCODER, _EXPERTS, _TABLE, _HEAD = "encoder.", ".experts.", "embedding.tokens", "head."
_NOT_MULTIPLIED, _TABLES = (".scale", ".zero"), ("embedding", "position", "relative_bias")


@dataclass(frozen=True)
class Work:
    """Bytes that a call must read, and its operations; those of attention over the context are not counted."""

    bytes: float
    operations: float

    def seconds(self, bandwidth: float, rate: float) -> float:
        """Return the time that a machine of that bandwidth (bytes/s) and rate (operations/s) needs at least."""
        return max(self.bytes / bandwidth, self.operations / rate)

    def bound(self, bandwidth: float, rate: float) -> str:
        """Return the resource that takes longer: `memory` or `arithmetic`."""
        return "memory" if self.bytes / bandwidth >= self.operations / rate else "arithmetic"


class Costs:
    """Costs of calls of a plan's decoder, or of its encoder."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.weight_bytes = sum(tensor.bytes for tensor in manifest.tensors)
        self._encoder = [tensor for tensor in manifest.tensors if manifest.encoder and tensor.name.startswith(_ENCODER)]
        own = [tensor for tensor in manifest.tensors if tensor not in self._encoder]
        # Of a token table that is not the head as well, a token reads one row.
        if any(tensor.name.startswith(_HEAD) for tensor in own) or manifest.topology == "encoder":
            own = [tensor for tensor in own if not tensor.name.startswith(_TABLE)]
        self.step_bytes = _read_bytes(own, manifest)

    def step(self, sequences: int, length: int) -> Work:
        """Return the work of one token of each of `sequences` sequences that have consumed `length` tokens."""
        state = sequences * sum(state_bytes(state, length) for state in self.manifest.state)
        return Work(self.step_bytes + state, sequences * self.manifest.flops_per_token)

    def prompt(self, sequences: int, length: int) -> Work:
        """Return the work of `length` tokens of each sequence: of the source, if the plan has an encoder.

        The head computes only the last token of a decoder's prompt, and is not counted.
        """
        tokens = sequences * length
        if self.manifest.encoder is not None:
            return Work(_read_bytes(self._encoder, self.manifest), 2 * tokens * _multiplied(self._encoder))
        return Work(self.step_bytes, tokens * (self.manifest.flops_per_token - self._head_operations()))

    def state_per_token(self) -> int:
        """Return the bytes of state that a token adds to a sequence."""
        return sum(state_bytes(state, 1) for state in self.manifest.state if has_slots(state.shape))

    def state_fixed(self, length: int) -> int:
        """Return the bytes of state that a sequence has anyway, with a source of `length` tokens."""
        return sum(state_bytes(state, length) for state in self.manifest.state if not has_slots(state.shape))

    def _head_operations(self) -> int:
        """Return an upper bound of the head's operations for a token: two for each entry of the largest table."""
        vocab, width = self.manifest.limits.vocab_size, 0
        for tensor in self.manifest.tensors:
            if tensor.name.startswith((_HEAD, _TABLE)) and tensor.shape and vocab in tensor.shape:
                width = max(width, _elements(tensor) // vocab)
        head = 2 * vocab * width
        has_head = self.manifest.output("logits") is not None and head < self.manifest.flops_per_token
        return head if has_head else 0


def state_bytes(state: State, length: int) -> int:
    """Return the bytes of a state of one sequence, whose length, and that of its source, is `length`."""
    sizes = [size if isinstance(size, int) else 1 if size == "batch" else length for size in state.shape]
    elements = math.prod(sizes)
    if state.window is not None:
        elements = math.prod(size for size in state.shape if isinstance(size, int)) * min(length, state.window)
    return -(-DTYPES[state.dtype].nbytes(elements) // (state.block or 1))


def _read_bytes(tensors: Iterable[Tensor], manifest: Manifest) -> float:
    """Return the bytes of weights that a call must read: of experts, only the share that one token selects."""
    listed = list(tensors)
    routed = sum(tensor.bytes for tensor in listed if _EXPERTS in tensor.name)
    others = sum(tensor.bytes for tensor in listed) - routed
    if not routed:
        return others
    elements = sum(_elements(tensor) for tensor in listed if _EXPERTS in tensor.name)
    dense = sum(_elements(tensor) for tensor in listed if _EXPERTS not in tensor.name)
    share = (manifest.flops_per_token / 2 - dense) / elements
    return others + routed * min(max(share, 0.0), 1.0)


def _multiplied(tensors: Iterable[Tensor]) -> int:
    """Return the weights of matrices; vectors, scales and tables are not multiplied by a token."""
    matrices = [tensor for tensor in tensors if len(tensor.shape) > 1 and not tensor.name.endswith(_NOT_MULTIPLIED)]
    return sum(_elements(tensor) for tensor in matrices if not any(part in tensor.name for part in _TABLES))


def _elements(tensor: Tensor) -> int:
    """Return the number of a tensor's weights; blocks of 4 bits are stored as bytes of two."""
    return math.prod(tensor.shape) * (2 if tensor.name.endswith(".int4") else 1)
