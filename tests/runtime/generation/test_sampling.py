"""Sampling: each option against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from archc.runtime import NonFiniteLogitsError, PromptError
from archc.runtime.generation.processors import LogitsProcessor
from archc.runtime.generation.sampling import Sampler, distribution
from archc.runtime.generation.settings import Settings

logits_arrays = npst.arrays(np.float32, st.integers(1, 40), elements=st.floats(-30, 30, width=32))
options = st.builds(
    Settings,
    temperature=st.floats(0.05, 5),
    top_k=st.integers(0, 50),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 1),
    seed=st.integers(0, 1000),
)


def reference(logits, sampling):
    """Return the probabilities over the whole vocabulary, filter by filter, as the papers say."""
    scores = logits.astype(np.float64) / sampling.temperature
    if sampling.top_k:
        scores[scores < np.sort(scores)[::-1][min(sampling.top_k, len(scores)) - 1]] = -np.inf
    chances = np.exp(scores - scores.max())
    chances /= chances.sum()
    order = np.argsort(chances, kind="stable")
    if sampling.top_p < 1:
        drop = order[np.cumsum(chances[order]) <= 1 - sampling.top_p]
        chances[np.setdiff1d(drop, order[-1:])] = 0
    chances[chances < sampling.min_p * chances.max()] = 0
    return chances / chances.sum()


@given(logits_arrays, options)
def test_the_distribution_is_that_of_the_definitions(logits, sampling):
    tokens, chances = distribution(logits, sampling)
    full = np.zeros(len(logits))
    full[tokens] = chances
    # Rounding may decide otherwise for a token that lies exactly on a threshold; it differs by that token alone.
    expected = reference(logits, sampling)
    assert abs(chances.sum() - 1) < 1e-9
    assert np.all((full > 0) <= (logits >= logits[tokens].min()))
    if np.array_equal(full > 0, expected > 0):
        assert np.allclose(full, expected, atol=1e-9)
    else:
        assert abs(int((full > 0).sum()) - int((expected > 0).sum())) <= 1 + np.count_nonzero(
            np.diff(np.sort(logits)) < 1e-5
        )


@given(logits_arrays)
def test_greedy_takes_the_largest(logits):
    assert Sampler(Settings()).choose(logits) == logits.argmax()


@given(logits_arrays, options)
def test_one_seed_gives_the_same_tokens_again(logits, sampling):
    def draw():
        sampler = Sampler(sampling, row=3)
        return [sampler.choose(logits) for _ in range(5)]

    assert draw() == draw()


def test_rows_of_one_seed_draw_different_tokens():
    logits = np.zeros(1000, np.float32)
    rows = [Sampler(Settings(temperature=1, seed=7), row=row).choose(logits) for row in range(20)]
    assert len(set(rows)) > 15


def test_draws_follow_the_probabilities():
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    sampler = Sampler(Settings(temperature=1, seed=3))
    counts = np.bincount([sampler.choose(logits) for _ in range(4000)], minlength=4) / 4000
    assert np.abs(counts - np.exp(logits)).max() < 0.03


def test_each_filter_keeps_what_it_should():
    logits = np.log(np.array([0.05, 0.5, 0.3, 0.15], np.float32))

    def kept(**options):
        return set(distribution(logits, Settings(temperature=1, **options))[0].tolist())

    assert kept() == {0, 1, 2, 3}
    assert kept(top_k=2) == {1, 2}
    assert kept(top_k=99) == {0, 1, 2, 3}
    assert kept(top_p=0.79) == {1, 2}
    assert kept(top_p=0.81) == {1, 2, 3}
    assert kept(top_p=1e-9) == {1}
    assert kept(min_p=0.29) == {1, 2, 3}
    assert kept(min_p=1.0) == {1}


def test_repetition_penalty_makes_prompt_and_new_tokens_less_likely():
    logits = np.array([2.0, 1.9, -1.0], np.float32)
    processed = LogitsProcessor(Settings(repetition_penalty=2.0))([0, 2, 0], logits)
    assert processed.tolist() == [1.0, np.float32(1.9), -2.0]
    sampler = Sampler(Settings(repetition_penalty=2.0), [0])
    assert [sampler.choose(logits) for _ in range(2)] == [1, 0]
    assert logits.tolist() == [2.0, np.float32(1.9), -1.0]


@pytest.mark.parametrize("options", [Settings(), Settings(temperature=1)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("bad", [[np.nan, 1.0], [np.inf, 1.0], [-np.inf, -np.inf]], ids=["nan", "inf", "all -inf"])
def test_logits_without_a_finite_maximum_are_an_error(bad, options):
    with pytest.raises(NonFiniteLogitsError, match=r"expected finite values, got .*; .* in float16 or bfloat16"):
        Sampler(options).choose(np.array(bad, np.float32))


@pytest.mark.parametrize("logit", [np.nan, np.inf, -np.inf], ids=str)
def test_an_argmax_of_the_graph_without_a_finite_logit_is_an_error(logit):
    with pytest.raises(NonFiniteLogitsError):
        Sampler(Settings()).choose_argmax(1, float(logit))


def test_a_token_with_the_logit_minus_infinity_is_never_drawn():
    logits = np.array([0.0, -np.inf, 0.0], np.float32)
    sampler = Sampler(Settings(temperature=5, seed=0))
    assert 1 not in {sampler.choose(logits) for _ in range(200)}


def test_suppressed_tokens_are_neither_chosen_nor_drawn():
    logits = np.array([0.0, 9.0, 1.0], np.float32)
    assert Sampler(Settings(suppress_tokens=(1,))).choose(logits) == 2
    sampler = Sampler(Settings(temperature=5, seed=0, suppress_tokens=(1,)))
    assert {sampler.choose(logits) for _ in range(200)} == {0, 2}


def test_rules_that_leave_no_token_are_an_error():
    sampler = Sampler(Settings(suppress_tokens=(0, 1)))
    with pytest.raises(PromptError, match="the options leave no token to generate; remove a rule"):
        sampler.choose(np.array([0.0, 9.0], np.float32))


@pytest.mark.parametrize(
    ("options", "is_argmax"),
    [
        ({}, True),
        ({"seed": 1, "top_k": 3}, True),
        ({"temperature": 0.5}, False),
        ({"repetition_penalty": 1.1}, False),
        ({"suppress_tokens": (1,)}, False),
    ],
    ids=["greedy", "greedy with unused options", "temperature", "penalty", "suppressed token"],
)
def test_only_plain_greedy_decoding_is_an_argmax(options, is_argmax):
    assert Sampler(Settings(**options)).is_argmax == is_argmax


def test_penalties_of_the_openai_api_count_tokens_of_the_output_alone():
    settings = Settings(presence_penalty=0.5, frequency_penalty=0.25, logit_bias=((1, -100.0), (3, 2.0)))
    processor = LogitsProcessor(settings, prompt=3)
    logits = np.array([1, 2, 3, 4, 5], np.float32)
    assert processor([0, 0, 2], logits).tolist() == [1, -98, 3, 6, 5]
    # Token 2 occurs twice after the prompt, token 4 once; token 0 is of the prompt.
    assert processor([0, 0, 2, 2, 4, 2], logits).tolist() == [1, -98, 3 - 2 * 0.25 - 0.5, 6, 5 - 0.25 - 0.5]
    assert logits.tolist() == [1, 2, 3, 4, 5]


def test_penalties_of_the_output_change_what_is_repeated():
    sampler = Sampler(Settings(presence_penalty=2.0), prompt=[1, 1])
    assert [sampler.choose(np.array([0, 3, 2], np.float32)) for _ in range(3)] == [1, 2, 1]
