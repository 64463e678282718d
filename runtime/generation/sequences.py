"""Sequences that grow by calls of the graph: the model state of a batch, and the split of long calls into chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import to_float32
from archc.plan.manifest import Manifest
from archc.plan.records import Output
from archc.runtime.backends.base import Backend, Buffer
from archc.runtime.errors import PromptError, fit_length
from archc.runtime.inputs.feeds import Feeder
from archc.runtime.inputs.outputs import empty_output
from archc.runtime.inputs.prefix_lm import PrefixTracker
from archc.runtime.inputs.prompts import Ints, as_rows, check_values, longest_draft, row_lengths
from archc.runtime.state.cache import Cache
from archc.runtime.state.encoder import EncodedSource

Floats = NDArray[np.float32]
Which = Literal["last", "all", "none"]


@dataclass(frozen=True)
class Checkpoint:
    """The lengths of sequences, int64 [batch], and copies of the states that each call replaces."""

    lengths: Ints
    fixed: list[Buffer]


class Sequences:
    """The model state of `batch` sequences; `lengths`, int64 [batch], are the tokens that each has consumed.

    Those of an encoder-decoder attend to a `source`, which does not change.
    """

    def __init__(
        self,
        manifest: Manifest,
        backend: Backend,
        batch: int,
        capacity: int | None = None,
        source: EncodedSource | None = None,
    ) -> None:
        if batch < 1:
            raise PromptError(f"batch: expected at least 1 sequence, got {batch}")
        logits = manifest.output("logits")
        if manifest.topology == "encoder" or logits is None:
            raise PromptError(
                f"{manifest.family}: sequences are not supported for an encoder; use engine.encode or engine.logits"
            )
        if source is not None and len(source.lengths) != batch:
            raise PromptError(
                f"source: expected one row for each sequence, got {len(source.lengths)} rows for a batch of {batch}"
            )
        self._limits = manifest.limits
        self._fixed_capacity = backend.capacity
        self._logits = logits
        self._argmax = (manifest.output("next_token"), manifest.output("next_logit"))
        self._source, self._source_rows = source, np.arange(batch)
        self._backend, self._states = backend, manifest.state
        self._feeder = Feeder(manifest.inputs, manifest.limits, backend.mask_length)
        cross = source.cross if source is not None else None
        self._cache = Cache(backend, manifest.state, batch, manifest.limits, capacity or 0, cross)
        self.lengths: Ints = np.zeros(batch, np.int64)
        self._before = self.lengths  # the last call
        self._is_replaced = any(state.kind == "fixed" for state in manifest.state)
        self._prefix = PrefixTracker(manifest.prefix, batch) if manifest.prefix is not None else None

    @property
    def capacity(self) -> int:
        """Return the number of tokens per row that the cache has slots for at present."""
        return self._cache.capacity

    @property
    def has_argmax(self) -> bool:
        """Return whether the graph computes the argmax of the logits."""
        return None not in self._argmax

    @overload
    def append(self, ids: Sequence[Sequence[int]] | Ints, logits: Literal["last", "all"] = "last") -> Floats: ...
    @overload
    def append(self, ids: Sequence[Sequence[int]] | Ints, logits: Literal["none"]) -> None: ...
    def append(self, ids: Sequence[Sequence[int]] | Ints, logits: Which = "last") -> Floats | None:
        """Append tokens, and return float32 logits: of the last, [batch, vocab], of all, [batch, seq, vocab], or None.

        `ids` are int64 [batch, seq] with -1 pads on the right. A row of pads alone does not advance; its logits, and
        those of other pads, are undefined. Raises PromptError if ids do not fit the vocabulary, the batch or the limit.
        """
        if logits == "last":
            (last,) = self._append(ids, (self._logits,))
            return to_float32(last, self._logits.dtype)
        if logits == "all":
            chunks = [
                self._call(chunk, new, np.arange(chunk.shape[1])[None].repeat(len(chunk), 0), (self._logits,))[0]
                for chunk, new, _ in self._chunks(ids)
            ]
            return to_float32(np.concatenate(chunks, axis=1) if len(chunks) > 1 else chunks[0], self._logits.dtype)
        if logits == "none":
            self._append(ids, ())
            return None
        raise PromptError(f"logits: expected 'last', 'all' or 'none', got {logits!r}")

    def append_greedily(self, ids: Sequence[Sequence[int]] | Ints) -> tuple[Ints, Floats]:
        """Append tokens, and return the argmax of each row's logits, int64 [batch], and its logit, float32 [batch].

        Only for plans with `has_argmax`; the logits are not copied from the device.
        """
        token, logit = self._argmax
        assert token is not None
        assert logit is not None
        tokens, logits = self._append(ids, (token, logit))
        return tokens, to_float32(logits, logit.dtype)

    def reserve(self, slots: int) -> None:
        """Allocate cache slots for `slots` tokens per row at once, instead of growing to that size."""
        self._cache.reserve(slots)

    def restart(self, ids: Ints, histories: Sequence[Sequence[int]]) -> Ints:
        """Return the ids to append instead of `ids`, int64 [batch, 1], in plans that read long sequences again.

        A row that `ids` take past the trained length of LongRoPE begins again with all its tokens, `histories`, so that
        its cached keys are rotated by the long list as well, as in transformers' `generate`.
        """
        past = self._limits.reread_past
        if past is None or any(state.kind == "fixed" for state in self._states):
            return ids
        passing = (self.lengths > 0) & (self.lengths <= past) & (self.lengths + (ids[:, 0] >= 0) > past)
        if not passing.any():
            return ids
        self.lengths = np.where(passing, 0, self.lengths)
        rows = [histories[row] if passing[row] else ids[row] for row in range(len(ids))]
        return as_rows(rows, "ids")

    @property
    def longest_draft(self) -> int:
        """Return how many tokens may follow the next one of each row in one call, and be taken back afterwards."""
        return longest_draft(self._limits, int(self.lengths.max()))

    def rewind(self, count: int) -> None:
        """Take back the last `count` tokens of each row, which ring buffers must have room for.

        State that each call replaces returns to that before the last call, whose other tokens must be appended again.
        """
        if count and self._is_replaced:
            self._cache.undo()
            self.lengths = self._before
            return
        self.lengths = self.lengths - count

    def checkpoint(self) -> Checkpoint:
        """Return the present state, for `restore`; states that are indexed by position are not copied."""
        return Checkpoint(self.lengths, self._cache.copy_fixed())

    def restore(self, checkpoint: Checkpoint) -> None:
        """Return to a state, once for each checkpoint; ring buffers must have room for the tokens since then."""
        self.lengths = checkpoint.lengths
        self._cache.set_fixed(checkpoint.fixed)

    def select(self, rows: Ints) -> None:
        """Replace the sequences by those of `rows`, int64 [batch], which may repeat and leave out any."""
        source_rows, source = self._source_rows[rows], None
        if self._source is not None and not np.array_equal(source_rows, self._source_rows):
            source = self._source = self._source.select(self._backend, rows)
        self._source_rows, self.lengths = source_rows, self.lengths[rows]
        if self._prefix is not None:
            self._prefix.select(rows)
        self._cache.select(rows, source.cross if source is not None else None)

    def _append(self, ids: Sequence[Sequence[int]] | Ints, outputs: Sequence[Output]) -> list[NDArray[Any]]:
        """Append tokens, and return the outputs at the last token of each row, [batch, …], in their storage types."""
        chunks = self._chunks(ids)
        results: list[NDArray[Any]] = []
        for chunk, new, ends_here in chunks:
            if not outputs or not ends_here.any():
                # Graphs with an argmax need at least one position.
                none = np.zeros((len(chunk), 1 if self.has_argmax else 0), np.int64)
                self._call(chunk, new, none, ())
                continue
            values = [value[:, 0] for value in self._call(chunk, new, np.maximum(new - 1, 0)[:, None], outputs)]
            if not results:
                results = values  # rows that end later are overwritten by later chunks
                continue
            for result, value in zip(results, values, strict=True):
                result[ends_here] = value[ends_here]
        return results

    def _chunks(self, ids: Sequence[Sequence[int]] | Ints) -> Iterator[tuple[Ints, Ints, NDArray[np.bool_]]]:
        """Validate the ids, and split them along seq into chunks that one call can process.

        Each chunk has the number of its tokens that are not padding, int64 [batch], and the rows whose last token it
        has, bool [batch]; for a row without tokens that is the first chunk.
        """
        padded = ids if isinstance(ids, np.ndarray) and ids.dtype == np.int64 and ids.ndim == 2 else as_rows(ids, "ids")
        batch, seq = padded.shape
        if batch != len(self.lengths) or not seq:
            raise PromptError(
                f"ids: expected {len(self.lengths)} rows with at least one new token, got shape {[batch, seq]}"
            )
        check_values(padded, self._limits)
        new = row_lengths(padded)
        ends = self.lengths + new
        if ends.max() > self._limits.max_seq_len:
            row = int(ends.argmax())
            raise PromptError(
                f"sequence {row}: expected at most {self._limits.max_seq_len} tokens, got {ends[row]}; "
                f"{fit_length('start a new sequence', self._limits)}"
            )
        if self._prefix is not None:
            self._prefix.add(padded, self.lengths)
        step = min(self._limits.max_call or seq, seq)
        if self._fixed_capacity is not None and (padding := ends[new < seq]).size:
            # Padding must not be written past the end of a cache that cannot grow.
            step = min(step, max(1, self._fixed_capacity - int(padding.max())))
        last = np.maximum(new - 1, 0) // step  # the chunk with each row's last token
        return (
            (padded[:, start : start + step], np.clip(new - start, 0, step), last == index)
            for index, start in enumerate(range(0, seq, step))
        )

    def _call(self, ids: Ints, new: Ints, positions: Ints, outputs: Sequence[Output]) -> list[NDArray[Any]]:
        """Run the graph on int64 [batch, seq], of which the first `new` tokens of each row are not padding.

        Returns the outputs at `positions`, int64 [batch, n], in their storage types.
        """
        slots = int(self.lengths.max()) + ids.shape[1]
        self._cache.reserve(slots if self._fixed_capacity is None else min(slots, self._fixed_capacity))
        feeds = self._feeder.feeds(
            ids,
            self.lengths,
            new,
            positions,
            prefix=self._prefix,
            capacity=self._cache.capacity,
            source=self._source.lengths if self._source is not None else None,
        )
        arrays = {output.name: empty_output(output, positions.shape) for output in outputs}
        self._cache.run(feeds, arrays)
        self._before, self.lengths = self.lengths, self.lengths + new
        return list(arrays.values())
