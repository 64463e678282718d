"""One row during generation: the condition that ends it, and its ids and text then."""

from __future__ import annotations

import pytest

from archc.runtime.generation.row import Row
from archc.runtime.text.detokenizer import Detokenizer

WORDS = ["ab", "cd", "ef"]


def detokenizer():
    return Detokenizer(lambda ids: "".join(WORDS[index] for index in ids))


@pytest.mark.parametrize(
    ("stop", "text", "ids"),
    [("cd", "ab", [0]), ("de", "abc", [0, 1]), ("bcde", "a", [0]), ("ab", "", []), ("f", "abcde", [0, 1, 2])],
    ids=["one token", "across tokens", "across three tokens", "at the start", "at the end of the budget"],
)
def test_only_tokens_with_text_before_the_stop_string_are_kept(stop, text, ids):
    row = Row(3, frozenset(), frozenset(), detokenizer(), [stop])
    streamed = ""
    for token in range(3):
        if row.finish_reason is None:
            streamed += row.append(token)[1]
    assert (streamed, row.ids, row.finish_reason) == (text, ids, "stop")


@pytest.mark.parametrize(
    ("eos", "stop_ids", "reason"), [([2], [], "eos"), ([], [2], "stop"), ([2], [2], "eos")], ids=["eos", "stop", "both"]
)
def test_an_end_token_ends_the_row_and_is_not_part_of_it(eos, stop_ids, reason):
    row = Row(9, frozenset(eos), frozenset(stop_ids), detokenizer())
    assert row.append(0) == (True, "ab")
    assert row.append(2) == (False, "")
    assert (row.ids, row.finish_reason) == ([0], reason)


def test_the_budget_ends_a_row_and_releases_the_text_that_was_held_back():
    row = Row(2, frozenset(), frozenset(), detokenizer(), ["dx"])
    assert row.append(0) == (True, "ab")
    assert row.append(1) == (True, "cd")
    assert (row.ids, row.finish_reason) == ([0, 1], "length")


def test_a_row_without_a_detokenizer_has_no_text():
    row = Row(1, frozenset(), frozenset())
    assert row.append(7) == (True, "")
    assert (row.ids, row.finish_reason) == ([7], "length")


STOPS_AT_SPECIAL = {
    "a special token": (["<end>"], "abcd", [0, 1]),
    "text and a special token": (["d<end>"], "abc", [0, 1]),
    "a special token and text": (["<end>ab"], "abcd", [0, 1]),
    "part of a special token": (["en"], "abcd", [0, 1, 3]),
    "text after a special token": (["ab"], "", []),
    "text around a hidden token is not adjacent": (["cdab"], "abcdab", [0, 1, 3, 0]),
}


@pytest.mark.parametrize(("stop", "text", "ids"), STOPS_AT_SPECIAL.values(), ids=STOPS_AT_SPECIAL)
def test_stop_strings_match_special_tokens_which_the_text_leaves_out(stop, text, ids):
    words = Detokenizer(lambda ids: "".join(WORDS[index] for index in ids if index < 3), hidden={3: "<end>"})
    row = Row(4, frozenset(), frozenset(), words, stop)
    streamed = ""
    for token in (0, 1, 3, 0):
        if row.finish_reason is None:
            streamed += row.append(token)[1]
    assert (streamed, row.ids) == (text, ids)
    assert row.finish_reason == ("length" if stop == ["cdab"] else "stop")


def test_bytes_before_a_special_token_that_stops_are_text():
    pieces = [b"a", b"\xc3", b"\xa9"]

    def decode(ids):
        return b"".join(pieces[index] for index in ids if index < 3).decode(errors="replace")

    row = Row(9, frozenset(), frozenset(), Detokenizer(decode, hidden={3: "<end>"}), ["<end>"])
    assert [row.append(token)[1] for token in (0, 1, 3)] == ["a", "", "\ufffd"]
    assert (row.ids, row.finish_reason) == ([0, 1], "stop")
    row = Row(9, frozenset(), frozenset(), Detokenizer(decode, hidden={3: "<end>"}), ["a<end>"])
    assert "".join(row.append(token)[1] for token in (0, 1, 3, 0)) == "a\ufffd"
    assert row.finish_reason is None
