"""Encoder-decoders: a source is read once, whatever is written after it, and rows of different lengths stay apart."""

from __future__ import annotations

import numpy as np
import pytest

from archc import runtime
from archc.plan.manifest import Mask
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
    assert answering.generate(SOURCES[0], 5) == answering.generate([SOURCES[0]], 5)
    assert answering.timing["prompt_tokens"] == 5


def test_greedy_tokens_are_the_likeliest_after_what_came_before(answering):
    written = answering.generate(SOURCES, 8, ignore_eos=True)
    for source, tokens in zip(SOURCES, written, strict=True):
        logits = answering.logits([source], decoder_ids=[[7, *tokens[:-1]]])[0]
        logits[:, 5] = -np.inf
        assert logits.argmax(-1).tolist() == tokens


def test_tokens_that_are_never_written_are_not(answering):
    drawn = answering.generate([SOURCES[0]] * 8, 30, temperature=50.0, seed=3, ignore_eos=True)
    assert {token for row in drawn for token in row} > {4, 6}
    assert not any(5 in row for row in drawn)


def test_the_room_for_an_answer_is_the_decoders(answering):
    (tokens,) = answering.generate([[3] * 200], 500, ignore_eos=True)
    assert len(tokens) == 199
    assert answering.finish_reasons == ["length"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda e: e.logits([[60]]), "ids run from 0 to 59"),
        (lambda e: e.logits([[1] * 201]), "has 201 tokens, but this plan takes at most 200"),
        (lambda e: e.logits([[1]], decoder_ids=[[7], [7]]), "decoder_ids have 2 rows, and ids have 1"),
        (lambda e: e.logits([[1]], decoder_ids=[[60]]), "ids run from 0 to 59"),
        (lambda e: e.generate([[1]], decoder_ids=[[7] * 200]), "no room for more"),
        (lambda e: e.generate([[]]), "empty"),
        (lambda e: e.sequences(1), "answers a source: give source=ids"),
        (lambda e: e.sequences(2, source=[[1]]), "batch is 2, and the source has 1 rows"),
        (lambda e: e.pooled([[1]]), "is no encoder alone and has no pooled"),
        (lambda e: e.encode([[1]], [[0]]), "takes no token_type_ids"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(answering, call, said):
    with pytest.raises(PromptError, match=said):
        call(answering)


def test_others_take_no_source_and_no_answers(decoder, encoder):
    for engine in (decoder, encoder):
        with pytest.raises(PromptError, match="takes no decoder_ids"):
            engine.logits([[1]], decoder_ids=[[1]])
    with pytest.raises(PromptError, match="takes no source"):
        decoder.sequences(1, source=[[1]])
    with pytest.raises(PromptError, match="takes no decoder_ids"):
        decoder.generate([[1]], decoder_ids=[[1]])


def test_a_plan_without_a_start_token_says_so(answering_path, tmp_path, rewrite):
    def forget(graphs, manifest):
        manifest["tokens"]["start"] = []

    engine = runtime.load(rewrite(answering_path, tmp_path / "p", forget), threads=1)
    with pytest.raises(PromptError, match="does not say which token its answers begin with"):
        engine.generate([[1]])
    assert len(engine.generate([[1]], 3, decoder_ids=[[7]], ignore_eos=True)[0]) == 3
