"""Greedy decoding with proposals, some of which are wrong, against decoding without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from archc.proof.built import Built
from archc.runtime.generation.guesses import Draft, Guess
from archc.runtime.generation.proposals import Asked
from archc.runtime.generation.speculation import Speculation, can_speculate, is_replaced

NEW, COUNT = 24, 5


class KnownAnswer:
    """Proposes the tokens of an answer after a prompt, about every fourth of them wrong."""

    def __init__(self, prompt: int, answer: Sequence[int], vocab: int) -> None:
        self.prompt, self.answer, self.vocab = prompt, answer, vocab
        self.random = np.random.default_rng(0)
        self.proposed = self.accepted = 0

    def chances(self, tokens: Sequence[int], count: int) -> list[float]:
        return [1.0] * count

    def note(self, proposed: int, accepted: int) -> None:
        self.proposed, self.accepted = self.proposed + proposed, self.accepted + accepted

    def seconds(self, sequences: int) -> float:
        return 0.0

    def propose(self, asked: Mapping[int, Asked]) -> Mapping[int, Draft]:
        return {key: self._draft(ask) for key, ask in asked.items()}

    def _draft(self, ask: Asked) -> Draft:
        begin = len(ask.sampler.tokens) - self.prompt
        right = self.answer[begin : begin + ask.count]
        return [Guess((token + (self.random.random() < 0.25)) % self.vocab) for token in right]


def differing_tokens(built: Built) -> int:
    """Return how many new tokens differ from those without proposals; 0 for plans that do not speculate.

    Some proposals are accepted in part, so that tokens are taken back inside of a call.
    """
    engine = built.engine
    if not can_speculate(engine.manifest):
        return 0
    sources = built.sources(1, 6)
    prompt = built.ids(1, 7)
    ids, decoder_ids = (sources, prompt) if sources is not None else (prompt, None)
    options = {"max_new_tokens": NEW, "ignore_eos": True, "defaults": False, "decoder_ids": decoder_ids}
    expected = engine.generate(ids, speculate="off", **options)[0]
    known = KnownAnswer(7, expected, built.vocab)
    former, engine.speculation = (
        engine.speculation,
        Speculation(lambda: (known, known), repeats=is_replaced(engine.manifest)),
    )
    try:
        found = engine.generate(ids, speculate=COUNT, **options)[0]
    finally:
        engine.speculation = former
    assert 0 < known.accepted < known.proposed
    return sum(one != other for one, other in zip(found, expected, strict=True))
