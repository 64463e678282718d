"""Results of generation: token ids, finish reasons and timing, each of one call."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Self, TypedDict

from archc.runtime.generation.row import FinishReason, Row


class LoadTiming(TypedDict):
    """Facts of a loaded engine: seconds of loading, CPU threads of one call, and device."""

    load_s: float
    threads: int
    device: str


class Timing(LoadTiming):
    """Token counts and seconds of one generation. The prefill includes the first new token's logits."""

    prompt_tokens: int
    new_tokens: int
    prefill_s: float
    decode_s: float


class Generation:
    """One generation for a batch of prompts: an iterator over steps, each a list of the rows' new text.

    Nothing is computed before the first step. `timing` is complete at the end, or after `close`.
    """

    def __init__(
        self,
        open_steps: Callable[[], Iterator[list[str]]],
        rows: Sequence[Row],
        timing: Timing,
    ) -> None:
        self._rows = rows
        self.timing = timing
        self._steps = _timed_steps(open_steps, rows, timing)

    @property
    def ids(self) -> list[list[int]]:
        """Return the new token ids of each row."""
        return [row.ids for row in self._rows]

    @property
    def finish_reasons(self) -> list[FinishReason | None]:
        """Return the condition that ended each row: `eos`, `stop` or `length`; None for an unfinished row."""
        return [row.finish_reason for row in self._rows]

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        return next(self._steps)

    def run(self) -> Self:
        """Generate until every row is finished."""
        for _ in self:
            continue
        return self

    def close(self) -> None:
        """End the generation early."""
        self._steps.close()


def _timed_steps(
    open_steps: Callable[[], Iterator[list[str]]], rows: Sequence[Row], timing: Timing
) -> Generator[list[str]]:
    """Yield the steps of a decode loop and record their timing.

    This is no method, because a generator with a reference to its owner would keep abandoned caches alive.
    """
    begin = time.perf_counter()
    prefilled: float | None = None
    try:
        for texts in open_steps():
            prefilled = prefilled or time.perf_counter()
            yield texts
    finally:
        end = time.perf_counter()
        prefilled = prefilled or end
        timing["prefill_s"] = prefilled - begin
        timing["decode_s"] = end - prefilled
        timing["new_tokens"] = sum(len(row.ids) for row in rows)


class TextStream(Iterator[str]):
    """The text of one generated row, in non-empty pieces, with token ids, finish reason and timing of that row."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def __next__(self) -> str:
        for (text,) in self._generation:
            if text:
                return text
        raise StopIteration

    @property
    def ids(self) -> list[int]:
        """Return the new token ids so far."""
        return self._generation.ids[0]

    @property
    def finish_reason(self) -> FinishReason | None:
        """Return the condition that ended the text: `eos`, `stop` or `length`; None until then."""
        return self._generation.finish_reasons[0]

    @property
    def timing(self) -> Timing:
        """Return token counts and seconds; complete at the end of the text, or after `close`."""
        return self._generation.timing

    def close(self) -> None:
        """End the generation early."""
        self._generation.close()
