"""What an encoder-decoder reads: a source goes through the encoder once, and every later call reads what it left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import to_float32
from archc.plan.manifest import Encoder, Limits, Manifest, Output
from archc.runtime.backends.base import Backend, Binding, Buffer
from archc.runtime.errors import PromptError
from archc.runtime.inputs.feeds import Feeder
from archc.runtime.inputs.outputs import empty_output
from archc.runtime.inputs.prompts import IdsLike, Ints, as_rows, check_ids, check_token_types

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """What the encoder made of `lengths` tokens a row, int64 [batch]: hidden states, float32 [batch, seq, hidden], and
    the decoder's state of kind `cross` by name."""

    lengths: Ints
    hidden_states: Floats
    cross: Mapping[str, Buffer]


class SourceReader:
    """The encoder's graph."""

    def __init__(self, encoder: Encoder, backend: Backend) -> None:
        self._encoder, self._backend = encoder, backend
        self._feeder = Feeder(encoder)
        self._takes_types = any(item.role == "token_types" for item in encoder.inputs)

    @property
    def limits(self) -> Limits:
        """The most tokens of a source, and how many token ids there are."""
        return self._encoder.limits

    def read(self, ids: IdsLike, token_type_ids: IdsLike | None = None) -> Source:
        """Run the encoder on int ids [batch, seq] with -1 pads on the right; raise PromptError for ids that do not
        fit."""
        padded, lengths = check_ids(ids, self.limits)
        types = check_token_types(token_type_ids, padded, self._takes_types)
        batch, seq = padded.shape
        nothing = np.zeros((batch, 0), np.int64)
        feeds = self._feeder.feeds(padded, np.zeros(batch, np.int64), lengths, nothing, types)
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
                hidden[output.name] = empty_output(output, sizes)
        assert states is not None
        self._backend.bind(bindings).run(feeds, hidden)
        return Source(lengths, to_float32(hidden[states.name], states.dtype), cross)


def check_answers(ids: IdsLike | None, batch: int, manifest: Manifest) -> tuple[Ints, Ints]:
    """Return what a decoder has of its answers, int64 [batch, seq], and each row's length, int64 [batch].

    Without ids they are the tokens that the plan's answers begin with. Raises PromptError for ids that do not fit, that
    are not one row for each source, or where there are none.
    """
    if ids is None:
        if not manifest.tokens.start:
            raise PromptError(
                "this plan does not say which token its answers begin with (its checkpoint had no "
                "decoder_start_token_id): give decoder_ids"
            )
        ids = [manifest.tokens.start] * batch
    padded, lengths = check_ids(as_rows(ids, "decoder_ids"), manifest.limits)
    if len(padded) != batch:
        raise PromptError(f"decoder_ids have {len(padded)} rows, and ids have {batch}: one for each")
    return padded, lengths
