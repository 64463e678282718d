"""The decode loop with scripted tokens: what each row receives, and what the model is fed."""

from __future__ import annotations

import numpy as np
import pytest

from archc.runtime.generation.decode import Greedy, Sampled, decode, token_source
from archc.runtime.generation.row import Row
from archc.runtime.generation.sampling import Sampler
from archc.runtime.generation.settings import Settings
from archc.runtime.text.detokenizer import Detokenizer


class Script:
    """A source of scripted tokens, one list for each row."""

    def __init__(self, *rows):
        self.rows = [list(row) for row in rows]
        self.fed = []

    def append(self, ids):
        self.fed.append(ids.tolist())

    def choose(self, row):
        return self.rows[row].pop(0)


class FakeSequences:
    """Sequences with fixed logits, whose graph may compute the argmax."""

    def __init__(self, logits, has_argmax):
        self.logits, self.has_argmax = np.array(logits, np.float32), has_argmax

    def restart(self, ids, histories):
        return ids

    def append(self, ids):
        return self.logits

    def append_greedily(self, ids):
        return self.logits.argmax(-1), self.logits.max(-1)


def row(budget, eos=(9,)):
    return Row(budget, frozenset(eos), frozenset(), Detokenizer(lambda ids: "".join(f"<{token}>" for token in ids)))


def test_every_row_has_its_text_at_each_step():
    rows = [row(3), row(2)]
    steps = list(decode(Script([1, 2, 3], [4, 5]), np.array([[7], [8]]), rows))
    assert steps == [["", ""], ["<1>", "<4>"], ["<2>", "<5>"], ["<3>", ""]]
    assert [item.ids for item in rows] == [[1, 2, 3], [4, 5]]


def test_a_finished_row_is_fed_padding_and_no_longer_chooses():
    source = Script([1, 2, 3], [4, 9])
    rows = [row(3), row(5)]
    list(decode(source, np.array([[7, 6], [8, -1]]), rows))
    assert source.fed == [[[7, 6], [8, -1]], [[1], [4]], [[2], [-1]]]
    assert source.rows == [[], []]
    assert [item.finish_reason for item in rows] == ["length", "eos"]


def test_the_callback_receives_row_and_token_but_no_end_token():
    calls = []
    list(decode(Script([1, 9], [4, 5]), np.array([[7], [8]]), [row(5), row(2)], lambda *call: calls.append(call)))
    assert calls == [(0, 1), (1, 4), (1, 5)]


@pytest.mark.parametrize(
    ("options", "has_argmax", "expected"),
    [
        ({}, True, Greedy),
        ({}, False, Sampled),
        ({"temperature": 1.0, "seed": 0}, True, Sampled),
        ({"repetition_penalty": 2.0}, True, Sampled),
    ],
    ids=["argmax in the graph", "logits only", "temperature", "penalty"],
)
def test_the_argmax_of_the_graph_is_used_only_for_plain_greedy_decoding(options, has_argmax, expected):
    sequences = FakeSequences([[0.0, 5.0, 1.0], [3.0, 0.0, 1.0]], has_argmax)
    samplers = [Sampler(Settings(**options), row=index) for index in range(2)]
    source = token_source(sequences, samplers)
    assert type(source) is expected
    source.append(np.array([[0], [0]]))
    if not options:
        assert [source.choose(0), source.choose(1)] == [1, 0]
