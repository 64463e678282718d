"""The rule of speculative sampling: exactly, over all random decisions, and by counting."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from archc.runtime.generation.decode import decode_speculatively
from archc.runtime.generation.draft_plan import Drafter
from archc.runtime.generation.draft_speculation import draft_speculation
from archc.runtime.generation.guesses import Distribution, Guess, settle
from archc.runtime.generation.processors import LogitsProcessor
from archc.runtime.generation.random_stream import RandomStream
from archc.runtime.generation.row import Row
from archc.runtime.generation.sampling import Sampler, distribution
from archc.runtime.generation.settings import Settings

Floats = NDArray[np.float64]
VOCAB, NEW = 3, 3


class Branch(RandomStream):
    """Decides as `path` says, then takes the first option; notes the options and the probability of all decisions."""

    is_seeded = False

    def __init__(self, path: Sequence[int]) -> None:
        self.path, self.options, self.probability = path, list[int](), 1.0

    def draw(self, probabilities: Floats) -> int:
        possible = np.flatnonzero(probabilities)
        choice = self.path[len(self.options)] if len(self.options) < len(self.path) else 0
        self.options.append(len(possible))
        index = int(possible[choice])
        self.probability *= float(probabilities[index] / probabilities.sum())
        return index

    def flip(self, probability: float) -> bool:
        return not self.draw(np.array([probability, 1 - probability]))

    def fork(self) -> RandomStream:
        return self


def outcomes(run: Callable[[Branch], Any]) -> dict[Any, float]:
    """Return the exact probability of each result of `run`, over all its random decisions."""
    found, path = dict[Any, float](), list[int]()
    while True:
        branch = Branch(path)
        result = run(branch)
        found[result] = found.get(result, 0.0) + branch.probability
        path = [*path, *[0] * (len(branch.options) - len(path))]
        while path and path[-1] + 1 == branch.options[len(path) - 1]:
            path.pop()
        if not path:
            return found
        path[-1] += 1


def table(seed: int, zeros: int = 0) -> Distribution:
    """Return a random distribution over four tokens, of which the last `zeros` are impossible."""
    tokens = np.random.default_rng(seed).permutation(4)[: 4 - zeros]
    values = np.random.default_rng(seed + 50).random(4 - zeros)
    return Distribution(tokens, values / values.sum())


@pytest.mark.parametrize("zeros", list(itertools.product(range(4), range(4))), ids=str)
def test_a_token_has_exactly_the_probability_of_the_target(zeros: tuple[int, int]) -> None:
    for seed in range(20):
        target, draft = table(seed, zeros[0]), table(seed + 100, zeros[1])

        def run(branch: Branch, target: Distribution = target, draft: Distribution = draft) -> int:
            token = int(draft.tokens[branch.draw(draft.probabilities)])
            return settle(Guess(token, draft), target, branch)

        found = outcomes(run)
        expected = dict(zip(target.tokens.tolist(), target.probabilities.tolist(), strict=True))
        assert found == pytest.approx(expected, abs=1e-12)


def test_as_many_tokens_are_kept_as_the_distributions_share() -> None:
    target, draft = table(1), table(2)
    tokens = np.arange(4)

    def is_kept(branch: Branch) -> bool:
        token = int(draft.tokens[branch.draw(draft.probabilities)])
        return settle(Guess(token, draft), target, branch) == token

    assert outcomes(is_kept)[True] == pytest.approx(np.minimum(target.of(tokens), draft.of(tokens)).sum(), abs=1e-12)
    assert outcomes(lambda branch: settle(Guess(1, table(3)), table(3), branch)) == {1: 1.0}


class Model:
    """Logits that depend on the last two tokens; as sequences of one row, and as states of a draft."""

    def __init__(self, seed: int, longest_draft: int = 99) -> None:
        self.table = np.random.default_rng(seed).normal(0, 1.5, (VOCAB + 1, VOCAB, VOCAB)).astype(np.float32)
        self.tokens, self.longest_draft = list[int](), longest_draft

    def logits(self, tokens: Sequence[int]) -> Any:
        return self.table[tokens[-2] if len(tokens) > 1 else VOCAB, tokens[-1]]

    @property
    def lengths(self) -> Any:
        return np.array([len(self.tokens)])

    def restart(self, ids: Any, _histories: object) -> Any:
        return ids

    def rewind(self, *arguments: int) -> None:
        count = arguments[-1]
        del self.tokens[len(self.tokens) - count :]

    def clear(self, _key: int) -> None:
        self.tokens.clear()


class Target(Model):
    def append(self, ids: Any, logits: str = "last") -> Any:
        rows = []
        for token in np.asarray(ids)[0]:
            self.tokens.append(int(token))
            rows.append(self.logits(self.tokens))
        return np.array([rows]) if logits == "all" else np.array([rows[-1]])


class Small(Model):
    def append(self, ids: Mapping[int, Sequence[int]]) -> Mapping[int, Any]:
        self.tokens += ids[0]
        return {0: self.logits(self.tokens)}


SETTINGS = {
    "plain": Settings(temperature=1.0),
    "filters": Settings(temperature=0.8, top_k=2),
    "rules": Settings(temperature=1.3, presence_penalty=0.7, repetition_penalty=1.2),
}


def generate(settings: Settings, random: RandomStream, count: int, prompt: Sequence[int] = (1, 0)) -> tuple[int, ...]:
    """Return the tokens of a target with proposals of a draft plan, `count` at a time."""
    limits = SimpleNamespace(max_seq_len=99, max_call=None, reread_past=None)
    manifest: Any = SimpleNamespace(state=[SimpleNamespace(kind="kv")], limits=limits)
    states: Any = Small(2)
    speculator = draft_speculation(manifest, lambda: Drafter(manifest, states, ()), 7).open(count)
    assert speculator is not None
    row = Row(NEW, frozenset(), frozenset())
    sampler = Sampler(settings, prompt, processor=LogitsProcessor(settings, len(prompt)), random=random)
    target: Any = Target(1)
    for _ in decode_speculatively(target, np.array([prompt]), row, sampler, speculator):
        continue
    return tuple(row.ids)


def exact(settings: Settings, prompt: Sequence[int] = (1, 0)) -> dict[tuple[int, ...], float]:
    """Return the probability of each answer of the target alone, as the product of those of its tokens."""
    model, rules = Target(1), LogitsProcessor(settings, len(prompt))
    found = dict[tuple[int, ...], float]()
    for answer in itertools.product(range(VOCAB), repeat=NEW):
        chance, tokens = 1.0, list(prompt)
        for token in answer:
            kept = distribution(rules(tokens, model.logits(tokens)), settings)
            chance *= float(kept.of(np.array([token]))[0])
            tokens.append(token)
        if chance:
            found[answer] = chance
    return found


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("name", SETTINGS)
def test_answers_have_exactly_the_probabilities_of_the_target(name: str, count: int) -> None:
    settings = SETTINGS[name]
    found = outcomes(lambda branch: generate(settings, branch, count))
    assert found == pytest.approx(exact(settings), abs=1e-9)


class Counted(RandomStream):
    """Repeatable decisions that are independent of those of its forks."""

    is_seeded = False
    numbers: Iterator[int] = itertools.count()

    def __init__(self) -> None:
        super().__init__([9, next(Counted.numbers)])

    def fork(self) -> RandomStream:
        return Counted()


def test_frequencies_of_answers_are_those_of_the_target() -> None:
    settings, trials = SETTINGS["plain"], 800
    Counted.numbers = itertools.count()
    expected = exact(settings)
    counts = dict.fromkeys(expected, 0)
    for _ in range(trials):
        counts[generate(settings, Counted(), 2)] += 1
    square = sum((counts[answer] - trials * chance) ** 2 / (trials * chance) for answer, chance in expected.items())
    assert len(expected) == 27
    assert square < 54.05  # the 99.9 % quantile of chi-squared with 26 degrees of freedom


def test_with_a_seed_answers_are_those_without_a_draft() -> None:
    for seed in range(30):
        settings = Settings(temperature=1.0, seed=seed)
        sampler, model, tokens = Sampler(settings), Target(1), [1, 0]
        for _ in range(NEW):
            tokens.append(sampler.choose(model.logits(tokens)))
        assert generate(settings, RandomStream([seed, 0]), 2) == tuple(tokens[2:])
