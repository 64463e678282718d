"""The rows of one generation, with their samplers or beams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from archc.runtime.generation.beams import BeamSearch, decode_beams
from archc.runtime.generation.decode import OnToken, decode, token_source
from archc.runtime.generation.processors import LogitsProcessor
from archc.runtime.generation.row import Row
from archc.runtime.generation.sampling import Sampler
from archc.runtime.generation.sequences import Sequences
from archc.runtime.generation.settings import Settings
from archc.runtime.inputs.prompts import Ints
from archc.runtime.text.detokenizer import Detokenizer


class Batch:
    """The rows that continue `prompts`, int64 [batch, seq] with -1 pads on the right, up to `limit` tokens each.

    `eos` are the end-of-sequence tokens, `sources` the source ids of an encoder-decoder's rows. `forced` is the number
    of tokens at the end of each prompt that count as generated, as with transformers.
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
    ) -> None:
        self.rows: list[Row] = []
        self._prompts = prompts
        self._samplers, self._searches = list[Sampler](), list[BeamSearch]()
        end_ids = frozenset(() if settings.ignore_eos else eos)
        stop_ids = frozenset(settings.stop_token_ids)
        for index, padded in enumerate(prompts):
            prompt = padded[padded >= 0].tolist()
            budget = settings.budget(len(prompt), limit)
            begin, max_length = len(prompt) - forced, len(prompt) + budget
            source = sources[index] if sources is not None else ()
            processor = LogitsProcessor(settings, begin, max_length, end_ids | stop_ids, source)
            text = detokenizer(prompt)
            self.rows.append(Row(budget, end_ids, stop_ids, text, settings.stop))
            if settings.num_beams > 1:
                ends = end_ids | stop_ids
                self._searches.append(BeamSearch(settings, prompt, processor, ends, begin, max_length, index))
            else:
                self._samplers.append(Sampler(settings, prompt, index, processor))

    def steps(self, sequences: Sequences, on_token: OnToken | None = None) -> Iterator[list[str]]:
        """Yield the new text of each row, after the prefill and each step."""
        if self._searches:
            return decode_beams(sequences, self._prompts, self.rows, self._searches, on_token)
        return decode(token_source(sequences, self._samplers), self._prompts, self.rows, on_token)
