"""Sequences that grow call by call, and the loop that makes them write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import to_float32
from archc.plan.manifest import Manifest, Output
from archc.runtime.backends.base import Backend
from archc.runtime.errors import PromptError
from archc.runtime.generation.sampling import Sampler
from archc.runtime.generation.streaming import StopMatcher, TextStream
from archc.runtime.inputs.feeds import Feeder
from archc.runtime.inputs.outputs import empty_output
from archc.runtime.inputs.prefix_lm import PrefixTracker
from archc.runtime.inputs.prompts import Ints, as_rows, check_values, row_lengths
from archc.runtime.state.encoder import Source
from archc.runtime.state.state import Cache

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
        self._room = backend.capacity
        logits = manifest.output("logits")
        if manifest.topology == "encoder" or logits is None:
            raise PromptError(
                f"{manifest.family} is an encoder and keeps no sequences; use engine.encode or engine.logits"
            )
        if source is not None and len(source.lengths) != batch:
            raise PromptError(f"batch is {batch}, and the source has {len(source.lengths)} rows: one for each sequence")
        self._logits = logits
        self._source = source
        self._best = (manifest.output("next_token"), manifest.output("next_logit"))
        self._feeder = Feeder(manifest, backend.keys)
        cross = source.cross if source is not None else None
        self._cache = Cache(backend, manifest.state, batch, manifest.limits, capacity or 0, cross)
        self.lengths: Ints = np.zeros(batch, np.int64)
        self._prefix = PrefixTracker(manifest.prefix, batch) if manifest.prefix is not None else None

    @property
    def capacity(self) -> int:
        """How many tokens a row there is room for at present."""
        return self._cache.capacity

    @property
    def chooses(self) -> bool:
        """Whether the graph itself finds the likeliest token."""
        return None not in self._best

    def append(self, ids: Sequence[Sequence[int]] | Ints, logits: Which = "last") -> Floats | None:
        """Take in new tokens; return float32 logits: of the last, [batch, vocab], of all, [batch, seq, vocab], or None.

        `ids` are int64 [batch, seq] with -1 pads on the right; a row of pads alone does not advance, and its logits,
        as those of pads, mean nothing.  Raises PromptError if ids do not fit the vocabulary, the batch or the limit.
        """
        if logits not in ("last", "all", "none"):
            raise PromptError(f"logits is {logits!r}; it is 'last', 'all' or 'none'")
        pieces = self._pieces(ids)
        every, last = list[Floats](), np.empty((len(self.lengths), self._limits.vocab_size), np.float32)
        for part, new, ending in pieces:
            seq = part.shape[1]
            if logits == "all":
                found = self._call(part, new, np.arange(seq)[None].repeat(len(part), 0), (self._logits,))
                every.append(to_float32(found[0], self._logits.dtype))
            elif logits == "last" and ending.any():
                found = self._call(part, new, np.maximum(new - 1, 0)[:, None], (self._logits,))
                last[ending] = to_float32(found[0][:, 0], self._logits.dtype)[ending]
            else:
                self._call(part, new, self._nowhere(len(part)), ())
        if logits == "none":
            return None
        return last if logits == "last" else np.concatenate(every, axis=1) if len(every) > 1 else every[0]

    def append_greedily(self, ids: Sequence[Sequence[int]] | Ints) -> tuple[Ints, Floats]:
        """Take in new tokens; return the likeliest next ones, int64 [batch], and their logits, float32 [batch].

        Only where the graph `chooses`: nothing as long as the vocabulary leaves the device.
        """
        token, logit = self._best
        assert token is not None
        assert logit is not None
        tokens, logits = np.zeros(len(self.lengths), np.int64), np.zeros(len(self.lengths), np.float32)
        for part, new, ending in self._pieces(ids):
            if not ending.any():
                self._call(part, new, self._nowhere(len(part)), ())
                continue
            found = self._call(part, new, np.maximum(new - 1, 0)[:, None], (token, logit))
            tokens[ending] = found[0][ending, 0]
            logits[ending] = to_float32(found[1][ending, 0], logit.dtype)
        return tokens, logits

    def _nowhere(self, batch: int) -> Ints:
        """Return the positions to ask for where nothing is wanted: one where the likeliest of none would be sought."""
        return np.zeros((batch, 1 if self.chooses else 0), np.int64)

    def _pieces(self, ids: Sequence[Sequence[int]] | Ints) -> Iterator[tuple[Ints, Ints, NDArray[np.bool_]]]:
        """Check the ids, and give them in pieces that one call may take in.

        Each comes with how many of its tokens are real, int64 [batch], and which rows have their last one there, bool
        [batch]; a row without any has it in the first.
        """
        padded = ids if isinstance(ids, np.ndarray) and ids.dtype == np.int64 and ids.ndim == 2 else as_rows(ids, "ids")
        batch, seq = padded.shape
        if batch != len(self.lengths) or not seq:
            raise PromptError(
                f"ids are {[batch, seq]}; these are {len(self.lengths)} sequences, and need a new token each"
            )
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
        if self._room is not None and (padding := ends[new < seq]).size:
            # What padding writes must not go past the end of a cache that cannot grow.
            step = min(step, max(1, self._room - int(padding.max())))
        last = np.maximum(new - 1, 0) // step  # the piece that takes in each row's last token
        return (
            (padded[:, start : start + step], np.clip(new - start, 0, step), last == index)
            for index, start in enumerate(range(0, seq, step))
        )

    def _call(self, ids: Ints, new: Ints, asked: Ints, outputs: Sequence[Output]) -> list[NDArray[Any]]:
        """Take in at most `max_call` tokens a row, of which the first `new` of each are real.

        Returns the outputs at the positions `asked`, int64 [batch, n], in numpy's storage types.
        """
        batch, seq = ids.shape
        slots = int(self.lengths.max()) + seq
        self._cache.reserve(slots if self._room is None else min(slots, self._room))
        feeds = self._feeder.feeds(
            ids, self.lengths, new, asked, prefix=self._prefix, capacity=self._cache.capacity,
            source=self._source.lengths if self._source is not None else None,
        )  # fmt: skip
        filled = {
            output.name: empty_output(
                output, {"batch": batch, "seq": seq, "n": asked.shape[1], **_second(output, asked)}
            )
            for output in outputs
        }
        self._cache.run(feeds, filled)
        self.lengths = self.lengths + new
        return list(filled.values())

    def reserve(self, slots: int) -> None:
        """Make room for `slots` tokens a row at once, instead of growing to it."""
        self._cache.reserve(slots)


def _second(output: Output, asked: Ints) -> dict[str, int]:
    """Return the size of the axis of positions by the name that the plan gives it."""
    axis = output.shape[1] if len(output.shape) > 1 else 0
    return {axis: asked.shape[1]} if isinstance(axis, str) else {}


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

    @property
    def greedy(self) -> bool:
        """Whether nothing but the likeliest token will do, so that no other logit matters."""
        return self._sampler.greedy

    def step(self, logits: Floats) -> tuple[int | None, str]:
        """Choose the next token from float32 [vocab]; return it, or None if it ends the row, and the new text."""
        return self._take(self._sampler.choose(logits))

    def accept(self, token: int, logit: float) -> tuple[int | None, str]:
        """Take the likeliest token, found elsewhere; as `step`."""
        return self._take(self._sampler.accept(token, logit))

    def _take(self, token: int) -> tuple[int | None, str]:
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
    greedy = sequences.chooses and all(row.greedy for row in rows)
    found = sequences.append_greedily(prompts) if greedy else sequences.append(prompts)
    yield ""
    while True:
        assert found is not None
        tokens = np.full((len(rows), 1), -1, np.int64)
        first = ""
        for index, row in enumerate(rows):
            if row.finish is not None:
                continue
            if isinstance(found, tuple):
                token, text = row.accept(int(found[0][index]), float(found[1][index]))
            else:
                token, text = row.step(found[index])
            if index == 0:
                first = text
            if token is not None and on_token is not None:
                on_token(index, token)
            if token is not None and row.finish is None:
                tokens[index] = token
        yield first
        if all(row.finish is not None for row in rows):
            return
        found = sequences.append_greedily(tokens) if greedy else sequences.append(tokens)
