"""The encoder of an encoder-decoder: runs once for a source; every decoder call reads its keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import DTYPES, to_float32
from archc.plan.manifest import Manifest
from archc.plan.records import Encoder, Limits, Output
from archc.runtime.backends.base import Backend, Binding, Buffer
from archc.runtime.errors import PromptError
from archc.runtime.inputs.feeds import Feeder
from archc.runtime.inputs.outputs import empty_output
from archc.runtime.inputs.prompts import IdsLike, Ints, as_rows, check_ids, check_token_types

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class EncodedSource:
    """The encoder's outputs for a batch of sources.

    `lengths` are int64 [batch], `hidden_states` float32 [batch, seq, hidden], and `cross` the decoder's states of kind
    `cross` by name.
    """

    lengths: Ints
    hidden_states: Floats
    cross: Mapping[str, Buffer]

    def select(self, backend: Backend, rows: Ints) -> EncodedSource:
        """Return the source with these rows, int64 [n], whose number differs from the present one."""
        cross = {name: backend.select(buffer, rows) for name, buffer in self.cross.items()}
        return EncodedSource(self.lengths[rows], self.hidden_states[rows], cross)


class EncoderRunner:
    """The encoder's graph with its backend."""

    def __init__(self, encoder: Encoder, backend: Backend) -> None:
        self._encoder, self._backend = encoder, backend
        self._feeder = Feeder(encoder.inputs, encoder.limits)
        self._has_token_types = any(item.role == "token_types" for item in encoder.inputs)

    @property
    def limits(self) -> Limits:
        """Return the limits of a source."""
        return self._encoder.limits

    def run(self, ids: IdsLike, token_type_ids: IdsLike | None = None) -> EncodedSource:
        """Encode int ids [batch, seq] with -1 pads on the right; raise PromptError for ids that do not fit."""
        padded, lengths = check_ids(ids, self.limits)
        types = check_token_types(token_type_ids, padded, self._has_token_types, self.limits.token_types)
        batch, seq = padded.shape
        no_positions = np.zeros((batch, 0), np.int64)
        feeds = self._feeder.feeds(padded, np.zeros(batch, np.int64), lengths, no_positions, types)
        sizes = {"batch": batch, "seq": seq}
        cross, bindings, hidden = dict[str, Buffer](), list[Binding](), dict[str, NDArray[Any]]()
        states: Output | None = None
        for output in self._encoder.outputs:
            if output.role == "cross":
                shape = tuple(sizes[axis] if isinstance(axis, str) else axis for axis in output.shape)
                cross[output.name] = self._backend.allocate(shape, output.dtype)
                bindings.append(Binding(None, output.name, cross[output.name]))
            else:
                states = output
                hidden[output.name] = empty_output(output, (batch, seq))
        assert states is not None
        self._backend.bind(bindings).run(feeds, hidden)
        return EncodedSource(lengths, to_float32(hidden[states.name], states.dtype), cross)

    def layout(self, length: int) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Return shape and dtype of each `cross` state of one source of `length` tokens."""
        sizes = {"batch": 1, "seq": length}
        return {
            output.name: (
                tuple(sizes[axis] if isinstance(axis, str) else axis for axis in output.shape),
                DTYPES[output.dtype].storage,
            )
            for output in self._encoder.outputs
            if output.role == "cross"
        }

    def restore(self, length: int, arrays: Mapping[str, NDArray[Any]]) -> EncodedSource:
        """Return a source of `length` tokens from its `cross` states by name, without hidden states."""
        dtypes = {output.name: output.dtype for output in self._encoder.outputs}
        cross = dict[str, Buffer]()
        for name, array in arrays.items():
            cross[name] = self._backend.allocate(array.shape, dtypes[name])
            cross[name].read()[...] = array  # type: ignore[attr-defined]
        return EncodedSource(np.array([length]), np.zeros((1, 0, 0), np.float32), cross)


def check_decoder_ids(ids: IdsLike | None, batch: int, manifest: Manifest) -> tuple[Ints, Ints]:
    """Return the decoder prompts, int64 [batch, seq], and the length of each row, int64 [batch].

    The default is the plan's start tokens. Raises PromptError for ids that do not fit, for another number of rows than
    `batch`, or without ids if the plan has no start tokens.
    """
    if ids is None:
        if not manifest.tokens.start:
            raise PromptError(
                "decoder_ids: the plan has no start token (the checkpoint had no decoder_start_token_id); "
                "pass decoder_ids"
            )
        ids = [manifest.tokens.start] * batch
    padded, lengths = check_ids(as_rows(ids, "decoder_ids"), manifest.limits)
    if len(padded) != batch:
        raise PromptError(f"decoder_ids: expected one row for each source, {batch}, got {len(padded)}")
    return padded, lengths
