"""Calls of a model without a cache: whole texts → one of the plan's outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import to_float32
from archc.plan.manifest import Manifest
from archc.plan.records import OutputRole
from archc.runtime.backends.base import Backend
from archc.runtime.errors import PromptError
from archc.runtime.inputs.feeds import Feeder
from archc.runtime.inputs.outputs import empty_output
from archc.runtime.inputs.prompts import IdsLike, check_ids, check_token_types
from archc.runtime.text.pairs import Text, encode_texts, read_texts
from archc.runtime.text.tokenizer import Tokenizer

Floats = NDArray[np.float32]
TextsLike = str | Sequence[Text] | IdsLike


class WholeTexts:
    """Runs the graph of an encoder, whose rows are whole texts."""

    def __init__(self, manifest: Manifest, backend: Backend, tokenizer: Callable[[], Tokenizer]) -> None:
        self._manifest, self._backend, self._tokenizer = manifest, backend, tokenizer
        self._feeder = Feeder(manifest.inputs, manifest.limits)
        self._has_token_types = any(item.role == "token_types" for item in manifest.inputs)

    def output(self, role: OutputRole, inputs: TextsLike, token_type_ids: IdsLike | None = None) -> Floats:
        """Return an output, float32, for texts, pairs of texts, or int ids [batch, seq] or ragged rows.

        Raises PromptError for a plan without the output, and for texts or ids that do not fit.
        """
        manifest = self._manifest
        if manifest.topology != "encoder":
            raise PromptError(
                f"{manifest.family}: {role} is not supported for topology {manifest.topology!r}; use engine.logits or "
                "engine.generate"
            )
        output = manifest.output(role)
        if output is None:
            available = ", ".join(item.role for item in manifest.outputs)
            raise PromptError(f"{manifest.family}: the plan has no output of role {role}; it has {available}")
        ids, token_type_ids = self._encode(inputs, token_type_ids)
        padded, lengths = check_ids(ids, manifest.limits)
        types = check_token_types(token_type_ids, padded, self._has_token_types, manifest.limits.token_types)
        batch, seq = padded.shape
        count = seq if role == "logits" else 0
        positions = np.broadcast_to(np.arange(count), (batch, count))
        feeds = self._feeder.feeds(padded, np.zeros(batch, np.int64), lengths, positions, types)
        values: NDArray[Any] = empty_output(output, (batch, seq))
        self._backend.bind([]).run(feeds, {output.name: values})
        return to_float32(values, output.dtype)

    def _encode(self, inputs: TextsLike, token_type_ids: IdsLike | None) -> tuple[IdsLike, IdsLike | None]:
        """Return ids and token types of texts; ids are returned unchanged."""
        texts = read_texts(inputs)
        if texts is None:
            return cast(IdsLike, inputs), token_type_ids
        if token_type_ids is not None:
            raise PromptError("token_type_ids: those of texts come from the tokenizer; leave them out")
        encoded = encode_texts(self._tokenizer(), texts)
        return [item.ids for item in encoded], [item.types for item in encoded] if self._has_token_types else None
