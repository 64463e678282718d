from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from archc.serve.ray.routing import key_of, order_replicas

SYSTEM = {"role": "system", "content": "Be brief."}
FIRST = {"role": "user", "content": "What is 1+2?"}


def key(**body: Any) -> str:
    return key_of(json.dumps(body).encode())


def test_all_turns_of_a_conversation_have_one_key() -> None:
    turn = [SYSTEM, FIRST]
    later = [*turn, {"role": "assistant", "content": "3"}, {"role": "user", "content": "And 3+4?"}]
    assert key(messages=turn) == key(messages=later, temperature=0.5, stream=True) != ""


@pytest.mark.parametrize(
    "other",
    [
        {"messages": [SYSTEM, {"role": "user", "content": "Hello"}]},
        {"messages": [{"role": "system", "content": "Be long."}, FIRST]},
        {"messages": [SYSTEM, FIRST], "model": "other"},
        {"messages": [SYSTEM, FIRST], "prompt_cache_key": "a"},
    ],
    ids=["question", "system prompt", "model", "cache key"],
)
def test_other_beginnings_have_other_keys(other: dict[str, Any]) -> None:
    assert key(**other) != key(messages=[SYSTEM, FIRST])


def test_a_cache_key_unites_other_prompts() -> None:
    assert key(prompt="one", prompt_cache_key="a") == key(messages=[FIRST], prompt_cache_key="a")


def test_a_prompt_counts_by_its_beginning() -> None:
    long = "a" * 256
    assert key(prompt=long + "b") == key(prompt=[long + "c", "d"]) != key(prompt="b" + long)
    ids = list(range(64))
    assert key(prompt=[*ids, 7]) == key(prompt=[[*ids, 8]]) == key(input=ids)


@pytest.mark.parametrize(
    "body",
    [b"", b"no JSON", b"[1]", b"\xff", b"[" * 100_000, b"{}", b'{"messages": []}', b'{"prompt": 5}', b'{"prompt": ""}'],
    ids=["empty", "text", "list", "bytes", "deep", "object", "no message", "number", "no text"],
)
def test_a_body_without_a_prompt_has_no_key(body: bytes) -> None:
    assert key_of(body) == ""


def test_messages_of_any_form_have_a_key() -> None:
    assert key(messages=[1, None, {"role": ["user"]}, {"content": [{"type": "text", "text": "a"}]}])


def test_keys_are_spread_evenly_and_stay_where_they_are() -> None:
    loads = {f"replica-{index}": 0 for index in range(4)}
    before = {str(number): order_replicas(str(number), loads, 8)[0] for number in range(1000)}
    counts = Counter(before.values())
    assert all(190 < count < 310 for count in counts.values())
    del loads["replica-2"]
    after = {number: order_replicas(number, loads, 8)[0] for number in before}
    assert {number for number in before if before[number] != after[number]} == {
        number for number in before if before[number] == "replica-2"
    }


def test_a_replica_that_has_a_round_of_requests_more_comes_later() -> None:
    (first, second, third) = order_replicas("k", {"a": 0, "b": 0, "c": 0}, 8)
    assert order_replicas("k", {first: 7, second: 0, third: 3}, 8) == [first, second, third]
    assert order_replicas("k", {first: 8, second: 0, third: 3}, 8) == [second, third, first]
    assert order_replicas("k", {first: 9, second: 0, third: 8}, 8) == [second, third, first]


def test_without_a_key_the_least_loaded_comes_first() -> None:
    assert order_replicas("", {"a": 3, "b": 1, "c": 2}, 8) == ["b", "c", "a"]
    assert order_replicas("", {}, 8) == order_replicas("k", {}, 8) == []
