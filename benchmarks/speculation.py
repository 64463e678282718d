"""Tokens per second with and without proposals: python benchmarks/speculation.py engine.plan.

Three answers to random prompts: a summary and an edit, which repeat the prompt, and free text, which does not. The
sampler chooses the tokens of the answer whatever the logits are, so that a small or random model repeats as a good
one would. Runs with and without proposals alternate, and medians are compared.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import archc
from archc.runtime.generation.decode import decode, decode_speculatively, token_source
from archc.runtime.generation.row import Row
from archc.runtime.generation.sampling import Sampler
from archc.runtime.generation.settings import Settings


class Forced(Sampler):
    """A sampler that chooses the tokens of an answer, after the work of a greedy choice."""

    def __init__(self, prompt: Sequence[int], answer: Sequence[int]) -> None:
        super().__init__(Settings(), prompt)
        self._answer, self._begin = answer, len(prompt)

    def choose(self, logits: Any) -> int:
        """Return the next token of the answer."""
        super().choose(logits)
        self.tokens[-1] = self._answer[len(self.tokens) - 1 - self._begin]
        return self.tokens[-1]


def cases(vocab: int, prompt: int, new: int) -> dict[str, tuple[list[int], list[int]]]:
    """Return prompts and answers by name: spans of the prompt, the prompt with a change every 24 tokens, new tokens."""
    random = np.random.default_rng(0)
    text = random.integers(0, vocab, prompt).tolist()
    spans = list[int]()
    while len(spans) < new:
        start = int(random.integers(0, prompt - 24))
        # A summary: words of its own, then a quotation.
        spans += random.integers(0, vocab, 6).tolist() + text[start : start + int(random.integers(6, 20))]
    edited = [token if index % 24 else int(random.integers(vocab)) for index, token in enumerate(text * 8)]
    free = random.integers(0, vocab, new).tolist()
    return {"summary": (text, spans[:new]), "edit": (text, edited[:new]), "free text": (text, free)}


def rate(engine: archc.Engine, prompt: list[int], answer: list[int], speculate: str) -> float:
    """Return tokens per second after the first token."""
    sequences, row, sampler = engine.sequences(1), Row(len(answer), frozenset(), frozenset()), Forced(prompt, answer)
    sequences.reserve(len(prompt) + len(answer) + 16)
    prompts = np.array([prompt])
    assert engine.speculation is not None
    speculator = engine.speculation.open("auto" if speculate == "auto" else "off")
    if speculator is not None:
        steps = decode_speculatively(sequences, prompts, row, sampler, speculator)
    else:
        steps = decode(token_source(sequences, [sampler]), prompts, [row])
    next(steps)
    begin = time.perf_counter()
    for _ in steps:
        continue
    return (len(answer) - 1) / (time.perf_counter() - begin)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("plan")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--prompt", type=int, default=256, help="tokens of a prompt")
    options.add_argument("--new", type=int, default=96, help="tokens of an answer")
    options.add_argument("--threads", type=int)
    chosen = options.parse_args()
    engine = archc.load(chosen.plan, threads=chosen.threads)
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(chosen.rounds):
        for name, (prompt, answer) in cases(engine.vocab_size, chosen.prompt, chosen.new).items():
            for speculate in ("off", "auto"):
                rates.setdefault((name, speculate), []).append(rate(engine, prompt, answer, speculate))
    print(f"{chosen.plan}: {engine.manifest.family}, {engine.manifest.parameters:,} parameters")
    for name in ("summary", "edit", "free text"):
        off, on = (statistics.median(rates[name, speculate]) for speculate in ("off", "auto"))
        print(f"{name:10}: {off:8.1f} tokens/s without, {on:8.1f} with proposals: {on / off:.2f} ×")
    assert engine.speculation is not None
    ratios = {width: engine.speculation.costs.ratio(1, width) for width in (2, 4, 8, 16)}
    print("a call of n tokens over one: " + ", ".join(f"{width}: {ratio:.2f}" for width, ratio in ratios.items()))
    engine.close()


if __name__ == "__main__":
    main()
