"""The rows of one generation, with their samplers or beams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from archc.runtime.errors import PromptError
from archc.runtime.generation.beams import BeamSearch, decode_beams
from archc.runtime.generation.decode import OnToken, decode, decode_speculatively, token_source
from archc.runtime.generation.processors import LogitsProcessor
from archc.runtime.generation.row import Row
from archc.runtime.generation.sampling import Sampler
from archc.runtime.generation.sequences import Sequences
from archc.runtime.generation.settings import Settings
from archc.runtime.generation.speculation import Speculation
from archc.runtime.inputs.prompts import Ints
from archc.runtime.structure.constraint import Constraint
from archc.runtime.text.detokenizer import Detokenizer


class Batch:
    """The rows that continue `prompts`, int64 [batch, seq] with -1 pads on the right, up to `limit` tokens each.

    `eos` are the end-of-sequence tokens, `sources` the source ids of an encoder-decoder's rows. `forced` is the number
    of tokens at the end of each prompt that count as generated, as with transformers. With `speculation`, the tokens of
    a single row are proposed ahead of its calls.
    """

    def __init__(
        self,
        settings: Settings,
        prompts: Ints,
        limit: int,
        eos: Sequence[int],
        sources: Sequence[Sequence[int]] | None = None,
        forced: int = 0,
        detokenizer: Callable[[Sequence[int]], Detokenizer | None] = lambda prompt: None,
        speculation: Speculation | None = None,
        constraint: Callable[[], Constraint | None] = lambda: None,
    ) -> None:
        if settings.grammar is not None and settings.num_beams > 1:
            raise PromptError(f"{settings.grammar.kind}: not supported by beam search; set num_beams to 1")
        self._speculator = speculation.open(settings.speculate) if speculation is not None else None
        self.rows: list[Row] = []
        self._prompts = prompts
        self._samplers, self._searches = list[Sampler](), list[BeamSearch]()
        for index, padded in enumerate(prompts):
            prompt = padded[padded >= 0].tolist()
            source = sources[index] if sources is not None else ()
            opened = open_row(settings, prompt, limit, eos, source, forced, detokenizer(prompt), index, constraint())
            self.rows.append(opened.row)
            if settings.num_beams > 1:
                self._searches.append(opened.search(settings, prompt, index))
            else:
                self._samplers.append(opened.sampler)

    def steps(self, sequences: Sequences, on_token: OnToken | None = None) -> Iterator[list[str]]:
        """Yield the new text of each row, after the prefill and each step."""
        if self._searches:
            return decode_beams(sequences, self._prompts, self.rows, self._searches, on_token)
        if self._speculator is not None and len(self.rows) == 1:
            (row,), (sampler,) = self.rows, self._samplers
            return decode_speculatively(sequences, self._prompts, row, sampler, self._speculator, on_token)
        return decode(token_source(sequences, self._samplers), self._prompts, self.rows, on_token)


@dataclass(frozen=True)
class OpenRow:
    """One row before its first token, with `budget` new tokens at most."""

    row: Row
    processor: LogitsProcessor
    sampler: Sampler
    budget: int
    ends: frozenset[int]
    begin: int

    def search(self, settings: Settings, prompt: Sequence[int], index: int) -> BeamSearch:
        """Return a beam search in place of the sampler."""
        longest = len(prompt) + self.budget
        return BeamSearch(settings, prompt, self.processor, self.ends, self.begin, longest, index)


def open_row(
    settings: Settings,
    prompt: Sequence[int],
    limit: int,
    eos: Sequence[int],
    source: Sequence[int] = (),
    forced: int = 0,
    text: Detokenizer | None = None,
    index: int = 0,
    constraint: Constraint | None = None,
) -> OpenRow:
    """Return the row that continues one prompt; see `Batch` for the arguments. `index` selects the random stream."""
    end_ids = frozenset(() if settings.ignore_eos else eos)
    stop_ids = frozenset(settings.stop_token_ids)
    budget = settings.budget(len(prompt), limit)
    begin, longest = len(prompt) - forced, len(prompt) + budget
    processor = LogitsProcessor(settings, begin, longest, end_ids | stop_ids, source)
    return OpenRow(
        Row(budget, end_ids, stop_ids, text, settings.stop),
        processor,
        Sampler(settings, prompt, index, processor, constraint),
        budget,
        end_ids | stop_ids,
        begin,
    )
