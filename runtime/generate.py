"""Sequences that grow call by call, and the loop that makes them write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.backends.base import Backend
from runtime.dtypes import to_float32
from runtime.errors import PromptError
from runtime.feeds import Feeder
from runtime.outputs import empty_output
from runtime.plan.manifest import Manifest, Output
from runtime.prefix import PrefixTracker
from runtime.prompts import Ints, as_rows, check_values, row_lengths
from runtime.sampling import Sampler
from runtime.source import Source
from runtime.state import Cache
from runtime.streaming import StopMatcher, TextStream

Floats = NDArray[np.float32]
Finish = Literal["eos", "stop", "length"]
Which = Literal["last", "all", "none"]


class Sequences:
    """The live state of `batch` sequences; `lengths`, int64 [batch], counts the tokens that each has taken in.

    An encoder-decoder's read a `source`, which stays the same.
    """

    def __init__(
        self, manifest: Manifest, backend: Backend, batch: int, capacity: int | None = None,
        source: Source | None = None,
    ) -> None:  # fmt: skip
        if batch < 1:
            raise PromptError(f"batch is {batch}; there must be at least 1 sequence")
        self._limits = manifest.limits
        logits = manifest.output("logits")
        if manifest.topology == "encoder" or logits is None:
            raise PromptError(
                f"{manifest.family} is an encoder and keeps no sequences; use engine.encode or engine.logits"
            )
        if source is not None and len(source.lengths) != batch:
            raise PromptError(f"batch is {batch}, and the source has {len(source.lengths)} rows: one for each sequence")
        self._logits = logits
        self._source = source
        self._feeder = Feeder(manifest)
        cross = source.cross if source is not None else None
        self._cache = Cache(backend, manifest.state, batch, manifest.limits, capacity or 0, cross)
        self.lengths: Ints = np.zeros(batch, np.int64)
        self._prefix = PrefixTracker(manifest.prefix, batch) if manifest.prefix is not None else None

    @property
    def capacity(self) -> int:
        """How many tokens a row there is room for at present."""
        return self._cache.capacity

    def append(self, ids: Sequence[Sequence[int]] | Ints, logits: Which = "last") -> Floats | None:
        """Take in new tokens; return float32 logits: of the last, [batch, vocab], of all, [batch, seq, vocab], or None.

        `ids` are int64 [batch, seq] with -1 pads on the right; a row of pads alone does not advance, and its logits,
        as those of pads, mean nothing.  Raises PromptError if ids do not fit the vocabulary, the batch or the limit.
        """
        padded = ids if isinstance(ids, np.ndarray) and ids.dtype == np.int64 and ids.ndim == 2 else as_rows(ids, "ids")
        batch, seq = padded.shape
        if batch != len(self.lengths) or not seq:
            raise PromptError(
                f"ids are {[batch, seq]}; these are {len(self.lengths)} sequences, and need a new token each"
            )
        if logits not in ("last", "all", "none"):
            raise PromptError(f"logits is {logits!r}; it is 'last', 'all' or 'none'")
        check_values(padded, self._limits)
        new = row_lengths(padded)
        ends = self.lengths + new
        if ends.max() > self._limits.max_seq_len:
            row = int(ends.argmax())
            raise PromptError(
                f"sequence {row} would have {ends[row]} tokens; this plan takes {self._limits.max_seq_len}"
            )
        if self._prefix is not None:
            self._prefix.see(padded, self.lengths)
        step = min(self._limits.max_call or seq, seq)
        ends = np.maximum(new - 1, 0) // step  # the call that takes in each row's last token
        every, last = list[Floats](), np.empty((batch, self._limits.vocab_size), np.float32)
        for index, start in enumerate(range(0, seq, step)):
            ending = ends == index
            wanted: Which = "none" if logits == "last" and not ending.any() else logits
            found = self._call(padded[:, start : start + step], np.clip(new - start, 0, step), wanted)
            if wanted == "last":
                last[ending] = found[ending]
            every.append(found)
        if logits == "none":
            return None
        return last if logits == "last" else np.concatenate(every, axis=1) if len(every) > 1 else every[0]

    def _call(self, ids: Ints, new: Ints, logits: Which) -> Floats:
        """Take in at most `max_call` tokens a row, of which the first `new` of each are real."""
        batch, seq = ids.shape
        self._cache.reserve(int(self.lengths.max()) + seq)
        if logits == "last":
            wanted = np.maximum(new - 1, 0)[:, None]
        else:
            wanted = np.broadcast_to(np.arange(seq if logits == "all" else 0), (batch, seq if logits == "all" else 0))
        feeds = self._feeder.feeds(
            ids, self.lengths, new, wanted, prefix=self._prefix, capacity=self._cache.capacity,
            source=self._source.lengths if self._source is not None else None,
        )  # fmt: skip
        outputs: dict[str, NDArray[Any]] = {}
        if logits != "none":
            sizes = {"batch": batch, "seq": seq, "n": wanted.shape[1], **_second(self._logits, wanted.shape[1])}
            outputs[self._logits.name] = empty_output(self._logits, sizes)
        self._cache.run(feeds, outputs)
        self.lengths = self.lengths + new
        if logits == "none":
            return np.empty(0, np.float32)
        values = to_float32(outputs[self._logits.name], self._logits.dtype)
        return values[:, 0] if logits == "last" else values

    def reserve(self, slots: int) -> None:
        """Make room for `slots` tokens a row at once, instead of growing to it."""
        self._cache.reserve(slots)


def _second(output: Output, count: int) -> dict[str, int]:
    """Return the size of the logits' position axis by the name that the plan gives it."""
    axis = output.shape[1] if len(output.shape) == 3 else 0
    return {axis: count} if isinstance(axis, str) else {}


class Row:
    """One sequence being written: its sampler, its new ids, and what ends it."""

    def __init__(
        self, sampler: Sampler, budget: int, eos: frozenset[int], stop_ids: frozenset[int],
        text: TextStream | None = None, stops: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._sampler, self.budget, self._eos, self._stop_ids = sampler, budget, eos, stop_ids
        self._text, self._matcher = text, StopMatcher(stops)
        self._told = 0  # characters that came out of the decoder
        self._ends: list[int] = []  # of those, how many were out after each token
        self._before_stop = 0  # of those, how many are certainly before a stop string
        self.ids: list[int] = []
        self.finish: Finish | None = None

    def step(self, logits: Floats) -> tuple[int | None, str]:
        """Choose the next token from float32 [vocab]; return it, or None if it ends the row, and the new text."""
        token = self._sampler.choose(logits)
        if token in self._eos or token in self._stop_ids:
            self.finish = "eos" if token in self._eos else "stop"
            return None, self._rest()
        self.ids.append(token)
        text = self._push(self._text.push(token)) if self._text else ""
        self._ends.append(self._told)
        if self._matcher.stopped:
            self._cut()
        elif len(self.ids) == self.budget:
            self.finish = "length"
            text += self._rest()
        return token, text

    def _push(self, text: str) -> str:
        self._told += len(text)
        certain = self._matcher.push(text)
        self._before_stop += len(certain)
        return certain

    def _rest(self) -> str:
        """Return the text that was held back, at the end; it may still complete a stop string."""
        if self._text is None:
            return ""
        text = self._push(self._text.flush())
        if self._matcher.stopped:
            if self._ends:
                self._ends[-1] = self._told
            self._cut()
            return text
        return text + self._matcher.flush()

    def _cut(self) -> None:
        """Keep only the tokens that have text before the stop string."""
        self.finish = "stop"
        keep = next(count for count, end in enumerate([0, *self._ends]) if end >= self._before_stop)
        del self.ids[keep:]


def decode(
    sequences: Sequences, prompts: Ints, rows: Sequence[Row], on_token: Callable[[int, int], object] | None = None
) -> Iterator[str]:
    """Write until every row is finished; yield the first row's new text, perhaps empty, after the prompt and each step.

    `prompts` are int64 [batch, seq] with -1 pads on the right.  A finished row keeps its slot and does not advance.
    """
    logits = sequences.append(prompts)
    yield ""
    while True:
        assert logits is not None
        tokens = np.full((len(rows), 1), -1, np.int64)
        first = ""
        for index, row in enumerate(rows):
            if row.finish is not None:
                continue
            token, text = row.step(logits[index])
            if index == 0:
                first = text
            if token is not None and on_token is not None:
                on_token(index, token)
            if token is not None and row.finish is None:
                tokens[index] = token
        yield first
        if all(row.finish is not None for row in rows):
            return
        logits = sequences.append(tokens)
