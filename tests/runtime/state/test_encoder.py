"""Encoder-decoders: the source is encoded once, and rows of different lengths are independent."""

from __future__ import annotations

import numpy as np
import pytest

from archc import runtime
from archc.plan.records import Mask
from archc.runtime.errors import PromptError
from archc.runtime.inputs.masks import build_mask

SOURCES = [[4, 9, 33, 2, 51], [8], [12, 12, 40]]
ANSWERS = [[7, 3], [7, 9, 22, 14], [7]]


def padded(rows):
    width = max(map(len, rows))
    return np.array([[*row, *[-1] * (width - len(row))] for row in rows])


def test_a_source_mask_shows_every_query_the_real_tokens():
    mask = build_mask(Mask(kind="source"), np.zeros(2, np.int64), np.array([2, 1]), 2, 9, source=np.array([3, 1]))
    assert mask.tolist() == [[[[True] * 3] * 2], [[[True, False, False]] * 2]]
    one = build_mask(Mask(kind="source"), np.array([4]), np.array([1]), 1, 5, source=np.array([2]))
    assert one.tolist() == [[[[True, True]]]]


def test_ragged_sources_and_answers_are_each_what_they_are_alone(answering):
    logits, hidden = answering.logits(SOURCES, decoder_ids=ANSWERS), answering.encode(SOURCES)
    for row, (source, answer) in enumerate(zip(SOURCES, ANSWERS, strict=True)):
        alone = answering.logits([source], decoder_ids=[answer])[0]
        np.testing.assert_allclose(logits[row, : len(answer)], alone, atol=1e-5)
        np.testing.assert_allclose(hidden[row, : len(source)], answering.encode([source])[0], atol=1e-5)


def test_what_the_source_says_counts(answering):
    first, second = answering.logits([[4, 9, 33], [4, 9, 34]], decoder_ids=[[7], [7]])
    assert np.abs(first - second).max() > 1e-3


def test_steps_and_growth_keep_the_source(answering):
    ids = np.random.default_rng(0).integers(0, 60, (3, 150))
    whole = answering.logits(SOURCES, decoder_ids=ids)
    sequences = answering.sequences(3, 1, padded(SOURCES))
    capacities, parts = set(), []
    for start, end in ((0, 1), (1, 2), (2, 60), (60, 61), (61, 70), (70, 150)):
        parts.append(sequences.append(ids[:, start:end], logits="all"))
        capacities.add(sequences.capacity)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-5)
    assert len(capacities) > 1
    assert sequences.lengths.tolist() == [150, 150, 150]


def test_answers_begin_with_the_plans_tokens(answering):
    start = answering.logits(SOURCES)
    np.testing.assert_array_equal(start, answering.logits(SOURCES, decoder_ids=[[7]] * 3))
    assert answering.generate(SOURCES, 5) == answering.generate(SOURCES, 5, decoder_ids=[[7]] * 3)
    result = answering.run(SOURCES[0], max_new_tokens=5)
    assert result.ids == answering.generate([SOURCES[0]], 5)
    assert result.timing["prompt_tokens"] == 5


def test_greedy_tokens_are_the_likeliest_after_what_came_before(answering):
    written = answering.generate(SOURCES, 8, ignore_eos=True)
    for source, tokens in zip(SOURCES, written, strict=True):
        logits = answering.logits([source], decoder_ids=[[7, *tokens[:-1]]])[0]
        logits[:, 5] = -np.inf
        assert logits.argmax(-1).tolist() == tokens


def test_excluded_tokens_are_not_generated(answering):
    drawn = answering.generate([SOURCES[0]] * 8, 30, temperature=50.0, seed=3, ignore_eos=True)
    assert {token for row in drawn for token in row} > {4, 6}
    assert not any(5 in row for row in drawn)


def test_the_output_is_limited_by_the_decoder_and_not_by_the_source(answering):
    result = answering.run([[3] * 200], max_new_tokens=500, ignore_eos=True)
    assert len(result.ids[0]) == 199
    assert result.finish_reasons == ["length"]


CALLS = {
    "source outside of the vocabulary": (lambda e: e.logits([[60]]), "expected an id from 0 to 59 .*, got id 60"),
    "long source": (lambda e: e.logits([[1] * 201]), "expected at most 200 tokens, got 201"),
    "rows of decoder_ids": (
        lambda e: e.logits([[1]], decoder_ids=[[7], [7]]),
        "decoder_ids: expected one row for each source, 1, got 2",
    ),
    "decoder_ids outside of the vocabulary": (lambda e: e.logits([[1]], decoder_ids=[[60]]), "got id 60"),
    "long decoder_ids": (lambda e: e.generate([[1]], decoder_ids=[[7] * 200]), "expected fewer than 200 tokens"),
    "empty source": (lambda e: e.generate([[]]), "is empty"),
    "no source": (lambda e: e.sequences(1), "source: required by t5"),
    "rows of the source": (
        lambda e: e.sequences(2, source=[[1]]),
        "source: expected one row for each sequence, got 1 rows for a batch of 2",
    ),
    "pooled output": (lambda e: e.pooled([[1]]), "pooled is not supported for topology 'encoder-decoder'"),
    "token types": (lambda e: e.encode([[1]], [[0]]), "token_type_ids is not supported"),
}


@pytest.mark.parametrize(("call", "message"), CALLS.values(), ids=CALLS)
def test_inputs_that_do_not_fit_are_refused(answering, call, message):
    with pytest.raises(PromptError, match=message):
        call(answering)


def test_source_and_decoder_ids_are_refused_without_an_encoder(decoder, encoder):
    for engine in (decoder, encoder):
        with pytest.raises(PromptError, match="decoder_ids: not supported by tiny"):
            engine.logits([[1]], decoder_ids=[[1]])
    with pytest.raises(PromptError, match="source: not supported by tiny"):
        decoder.sequences(1, source=[[1]])
    with pytest.raises(PromptError, match="decoder_ids: not supported by tiny"):
        decoder.generate([[1]], decoder_ids=[[1]])


def test_a_plan_without_a_start_token_requires_decoder_ids(answering_path, tmp_path, rewrite):
    def forget(graphs, manifest):
        manifest["tokens"]["start"] = []

    engine = runtime.load(rewrite(answering_path, tmp_path / "p", forget), threads=1)
    with pytest.raises(PromptError, match="decoder_ids: the plan has no start token"):
        engine.generate([[1]])
    assert len(engine.generate([[1]], 3, decoder_ids=[[7]], ignore_eos=True)[0]) == 3
