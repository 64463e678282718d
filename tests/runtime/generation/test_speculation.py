"""Prompt lookup, the choice of how many tokens to propose, and decoding with proposals against decoding without."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archc.runtime.engine import Engine, load
from archc.runtime.errors import PromptError
from archc.runtime.generation.call_costs import CallCosts, Terms
from archc.runtime.generation.draft_speculation import AcceptanceRate
from archc.runtime.generation.lookup import PromptLookup
from archc.runtime.generation.settings import Settings
from archc.runtime.generation.speculation import Speculation, can_speculate, check_speculation
from archc.runtime.inputs.prompts import longest_draft
from tests.runtime.tiny import rewritten


@pytest.fixture(scope="module")
def decoder(decoder_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A decoder whose prompts may be several calls, as those whose tokens can be taken back."""

    def change(_graphs: object, manifest: dict[str, Any]) -> None:
        manifest["limits"]["max_call"] = 512

    engine = load(rewritten(decoder_path, tmp_path_factory.mktemp("speculation") / "engine.plan", change))
    yield engine
    engine.close()


OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampled": {"temperature": 0.9, "top_p": 0.95, "seed": 5},
    "cold": {"temperature": 0.2, "seed": 1},
    "penalty": {"repetition_penalty": 1.2},
    "no-ngrams": {"no_repeat_ngram_size": 3},
    "at-least": {"min_new_tokens": 9},
    "stop-ids": {"stop_token_ids": list(range(0, 264, 9))},
}


def longest_match(tokens: list[int], shortest: int = 2) -> int:
    """Return the length of the longest suffix that occurs earlier, at least `shortest`, otherwise 0."""
    lengths = [
        n
        for n in range(shortest, len(tokens))
        if any(tokens[start : start + n] == tokens[-n:] for start in range(len(tokens) - n))
    ]
    return max(lengths, default=0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 8))
def test_a_proposal_continues_an_earlier_occurrence(tokens: list[int], count: int) -> None:
    lookup = PromptLookup()
    for length in range(len(tokens) + 1):
        known = tokens[:length]
        proposed = lookup.following(known, count)
        assert bool(proposed) == bool(longest_match(known))
        assert len(lookup.chances(known, count)) == len(proposed)
        if proposed:
            starts = [end for end in range(2, length) if known[end - 2 : end] == known[-2:]]
            repeated = [(known[end:] * count)[:count] for end in starts]
            assert proposed in repeated


def test_a_match_is_followed_as_long_as_it_predicts() -> None:
    text = [1, 2, 3, 4, 5, 6, 1, 2, 9, 9, 1, 2]
    assert PromptLookup().following(text, 2) == [9, 9]
    followed = PromptLookup()
    assert followed.following([1, 2, 3, 4, 5, 6, 1, 2], 3) == [3, 4, 5]
    assert followed.following([1, 2, 3, 4, 5, 6, 1, 2, 3], 2) == [4, 5]


def test_chances_follow_the_hits_of_the_answer() -> None:
    good, bad = PromptLookup(), PromptLookup()
    prompt = [1, 2, 3, 4] * 3
    first = good.chances(prompt, 4)
    assert first == sorted(first, reverse=True)
    bad.chances(prompt, 4)
    answer = list(itertools.islice(itertools.cycle([1, 2, 3, 4]), 40))
    wrong = list(itertools.chain.from_iterable((1, 2, 10 + index, 50 + index) for index in range(10)))
    assert good.chances(prompt + answer, 4)[-1] > first[-1]
    before = PromptLookup().chances([1, 2, 9, 1, 2], 1)[0]
    assert bad.chances([*prompt, *wrong, 1, 2], 1)[0] < before


def measured(ratios: dict[int, float], sequences: int = 1) -> CallCosts:
    """Return costs with these ratios by width."""
    costs = CallCosts()
    for width, ratio in {1: 1.0, **ratios}.items():
        for seconds in (100.0, ratio, ratio, 50.0, ratio):  # the first and single slow calls do not count
            costs.note(sequences, width, seconds)
    return costs


@pytest.mark.parametrize(
    ("ratios", "chance", "expected"),
    [
        ({2: 1.1, 4: 1.2, 8: 1.4, 16: 1.9}, 1.0, 15),
        ({2: 1.1, 4: 1.2, 8: 1.4, 16: 4.0}, 1.0, 7),
        ({2: 1.1, 4: 1.2, 8: 1.4, 16: 4.0}, 0.0, 0),
        ({2: 2.0, 4: 4.0, 8: 8.0, 16: 16.0}, 1.0, 0),
        ({2: 1.2, 4: 1.8, 8: 3.0, 16: 6.0}, 0.5, 1),
    ],
    ids=["cheap", "cheap-up-to-eight", "no-hits", "no-gain", "half"],
)
def test_as_many_tokens_as_pay(ratios: dict[int, float], chance: float, expected: int) -> None:
    chances = [chance ** (index + 1) for index in range(15)]
    assert measured(ratios).best([chances], 1) == expected


def test_proposals_of_some_sequences_must_pay_for_all() -> None:
    ratios = {2: 1.2, 4: 1.5, 8: 2.0, 16: 3.0}
    assert measured(ratios, 4).best([[1.0] * 15] * 4, 4) == 15
    assert measured({2: 1.3, 4: 2.0, 8: 4.0, 16: 8.0}, 4).best([[1.0] * 15], 4) == 0
    assert CallCosts().best([], 3) == 0


def test_old_measurements_are_forgotten() -> None:
    costs = measured({2: 9.0})
    assert costs.ratio(1, 2) == 9
    for _ in range(3000):
        costs.note(1, 1, 1.0)
    assert costs.ratio(1, 2) < 2


@pytest.mark.parametrize("name", OPTIONS)
def test_outputs_are_those_without_proposals(decoder: Engine, name: str) -> None:
    random = np.random.default_rng(3)
    options = {"max_new_tokens": 30, **OPTIONS[name]}
    for trial in range(6):
        period = random.integers(0, 200, 1 + trial).tolist()
        prompt = [(period * 20)[: 8 + trial]]
        expected = decoder.run(prompt, speculate="off", **options)
        for speculate in (1, 5, 15, "auto"):
            seen = list[tuple[int, int]]()
            found = decoder.run(prompt, speculate=speculate, on_token=lambda *pair, s=seen: s.append(pair), **options)
            assert (found.ids, found.finish_reasons) == (expected.ids, expected.finish_reasons)
            assert seen == [(0, token) for token in found.ids[0]]


def test_proposals_save_calls(decoder: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from archc.runtime.generation.sequences import Sequences

    widths = list[int]()
    append = Sequences.append

    def counted(self: Sequences, ids: Any, logits: Any = "last") -> Any:
        widths.append(np.asarray(ids).shape[1])
        return append(self, ids, logits)

    monkeypatch.setattr(Sequences, "append", counted)
    options: dict[str, Any] = {"max_new_tokens": 40, "sequence_bias": [([token], 1e4) for token in (7,)]}
    expected = decoder.generate([[7, 7, 7, 7]], speculate="off", **options)
    assert widths == [4, *[1] * 39]
    widths.clear()
    assert decoder.generate([[7, 7, 7, 7]], speculate=7, **options) == expected == [[7] * 40]
    # Of 40 tokens, the prefill yields 1 and each call 8; the last call has those that are left.
    assert widths == [4, 8, 8, 8, 8, 7]


@pytest.mark.parametrize("stop", ["he", "l", "\x00"])
def test_stop_strings_inside_accepted_tokens(decoder: Engine, stop: str) -> None:
    for seed in range(4):
        options: dict[str, Any] = {"max_new_tokens": 30, "temperature": 0.7, "seed": seed, "stop": stop}
        expected = decoder.stream("hello hello hello", speculate="off", **options)
        found = decoder.stream("hello hello hello", speculate=6, **options)
        assert list(found) == list(expected)
        assert (found.ids, found.finish_reason) == (expected.ids, expected.finish_reason)


def test_up_to_the_maximum_length(decoder: Engine) -> None:
    prompt = [[3, 4] * 25]
    expected = decoder.generate(prompt, max_new_tokens=100, speculate="off", ignore_eos=True)
    assert len(expected[0]) == 14
    assert decoder.generate(prompt, max_new_tokens=100, speculate=9, ignore_eos=True) == expected


def test_numbers_that_are_not_supported(decoder: Engine) -> None:
    with pytest.raises(PromptError, match="speculate: expected auto or off for several prompts or beams; leave it out"):
        decoder.generate([[1], [2]], speculate=3)
    with pytest.raises(PromptError, match="speculate: expected 'auto', 'off' or a number of tokens up to 64, got 65"):
        decoder.generate([[1]], speculate=65)
    manifest: Any = SimpleNamespace(family="f", target="t", has_stable_prefixes=False, output=lambda role: None)
    assert not can_speculate(manifest)
    with pytest.raises(PromptError, match="speculate: not supported by f on t, which cannot take tokens back; leave"):
        check_speculation(Settings(speculate=2), manifest)
    check_speculation(Settings(), manifest)
    assert Speculation().open("off") is None


def test_room_for_proposals(decoder: Engine) -> None:
    limits = decoder.manifest.limits
    assert longest_draft(limits, 60) == 3
    calls: Any = SimpleNamespace(max_seq_len=100, max_call=8, reread_past=None)
    assert longest_draft(calls, 10) == 7
    rereads: Any = SimpleNamespace(max_seq_len=100, max_call=None, reread_past=20)
    assert [longest_draft(rereads, length) for length in (10, 19, 20, 21)] == [9, 0, -1, 78]


def test_the_time_of_a_draft_must_pay_too() -> None:
    ratios = {2: 1.1, 4: 1.2, 8: 1.4, 16: 1.9}
    chances = [0.8**length for length in range(1, 16)]
    assert measured(ratios).best([chances], 1) == 7
    assert measured(ratios).best([chances], 1, Terms(seconds=0.2)) == 3
    assert measured(ratios).best([chances], 1, Terms(seconds=0.9)) == 0
    assert measured(ratios).best([chances], 1, Terms(counts=(1, 2), seconds=0.01)) == 2


def test_a_call_without_proposals_is_measured_before_those_of_a_draft_and_again_later() -> None:
    costs, terms, chances = CallCosts(), Terms(seconds=0.01), [1.0] * 15
    for _ in range(3):
        assert costs.best([chances], 1, terms) == 0
        costs.note(1, 1, 1.0)
    assert costs.best([chances], 1, terms) == 15
    for _ in range(600):
        costs.note(1, 16, 1.5)
    assert costs.best([chances], 1, terms) == 0


def test_tokens_that_are_computed_again_must_pay_too() -> None:
    ratios = {2: 1.3, 4: 1.7, 8: 2.2, 16: 4.0}
    chances = [0.6**length for length in range(1, 16)]
    assert measured(ratios).best([chances], 1) == 3
    assert measured(ratios).best([chances], 1, Terms(repeats=True)) == 1
    sure = [1.0] * 15
    assert measured(ratios).best([sure], 1, Terms(repeats=True)) == measured(ratios).best([sure], 1) == 15


def test_the_acceptance_rate_counts_tokens_up_to_the_first_wrong_one() -> None:
    rate = AcceptanceRate()
    first = rate.chances([], 2)
    assert first == pytest.approx([0.7, 0.49])
    rate.note(4, 4)
    (higher,) = rate.chances([], 1)
    assert higher == pytest.approx(1 - 0.3 * 0.95**4)
    rate.note(9, 0)
    assert rate.chances([], 1)[0] == pytest.approx(higher * 0.95)
