"""Answers that OpenAI's own client reads, against the engine alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from archc.runtime import Engine
from tests.archc.serve.conftest import Running

PROMPTS = ["37+85=", "Once upon a time", "The little dog", "5+5=", "A boy", "99+1=", "One day", "She said"]


def text_of(engine: Engine, prompt: Any, **options: Any) -> str:
    return "".join(engine.stream(prompt, **options))


def test_chat(server: Running, engine: Engine) -> None:
    question = "What is 12+30?"
    answer = server.client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": question}])
    (choice,) = answer.choices
    assert choice.message.content == text_of(engine, question, chat=True) == "42"
    assert (choice.message.role, choice.finish_reason, choice.logprobs) == ("assistant", "stop", None)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(engine.tokenizer.chat_ids([{"role": "user", "content": question}]))
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_chat_content_may_be_parts(server: Running) -> None:
    parts: Any = [{"type": "text", "text": "What is "}, {"type": "text", "text": "12+30?"}]
    answer = server.client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == "42"


def test_streamed_chat_has_role_text_end_and_usage(server: Running) -> None:
    messages: Any = [{"role": "user", "content": "What is 12+30?"}]
    with server.client.chat.completions.create(
        model="tiny", messages=messages, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "42"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2
    assert len({chunk.id for chunk in chunks}) == 1


def test_greedy_completions_of_many_clients_equal_the_engine_alone(server: Running, engine: Engine) -> None:
    def ask(prompt: str) -> str:
        return server.client.completions.create(model="tiny", prompt=prompt, max_tokens=40).choices[0].text

    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        answers = list(pool.map(ask, PROMPTS))
    assert answers == [text_of(engine, prompt, max_new_tokens=40) for prompt in PROMPTS]


def test_streamed_completion_equals_the_whole_one(server: Running, engine: Engine) -> None:
    with server.client.completions.create(
        model="tiny", prompt="Once upon a time", max_tokens=60, stream=True
    ) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks) == text_of(engine, "Once upon a time", max_new_tokens=60)
    assert len(chunks) > 20
    assert chunks[-1].choices[0].finish_reason == "length"


def test_lists_of_prompts_and_n_are_choices_by_index(server: Running, engine: Engine) -> None:
    answer = server.client.completions.create(model="tiny", prompt=["37+85=", "5+5="], n=2, max_tokens=8)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    expected = [text_of(engine, prompt, max_new_tokens=8) for prompt in ("37+85=", "5+5=")]
    assert [choice.text for choice in answer.choices] == [text for text in expected for _ in range(2)]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == sum(len(engine.tokenizer.encode(text)) for text in ("37+85=", "5+5="))


def test_ids_are_prompts_whose_chunks_have_token_ids(server: Running, engine: Engine) -> None:
    prompt = engine.tokenizer.encode("Once upon a time")
    options: dict[str, Any] = {"max_tokens": 12, "temperature": 0, "extra_body": {"ignore_eos": True}}
    with server.client.completions.create(model="tiny", prompt=prompt, stream=True, **options) as stream:
        streamed = [token for chunk in stream for token in getattr(chunk.choices[0], "token_ids", [])]
    assert [streamed] == engine.generate([prompt], max_new_tokens=12, ignore_eos=True)
    both = server.client.completions.create(model="tiny", prompt=[prompt, prompt], **options)
    assert [choice.token_ids for choice in both.choices] == [streamed, streamed]  # type: ignore[attr-defined]


def test_a_seed_repeats_an_answer_and_choices_differ(server: Running) -> None:
    def ask(seed: int) -> list[str]:
        answer = server.client.completions.create(
            model="tiny", prompt="One day", n=3, temperature=1.5, seed=seed, max_tokens=20
        )
        return [choice.text for choice in answer.choices]

    first = ask(-7)
    assert first == ask(-7) != ask(8)
    assert len(set(first)) == 3


def test_stop_strings_end_an_answer_and_its_tokens(server: Running, engine: Engine) -> None:
    full = text_of(engine, "Once upon a time", max_new_tokens=40)
    stop = full.split()[3]
    answer = server.client.completions.create(
        model="tiny",
        prompt="Once upon a time",
        max_tokens=40,
        stop=[stop],
        logprobs=0,
        extra_body={"return_token_ids": True},
    )
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason) == (full.partition(stop)[0], "stop")
    assert engine.tokenizer.decode(choice.token_ids).startswith(choice.text.rstrip())  # type: ignore[attr-defined]
    assert choice.logprobs is not None
    assert len(choice.logprobs.tokens or []) == len(choice.token_ids)  # type: ignore[attr-defined]


def test_echo_repeats_the_prompt(server: Running, engine: Engine) -> None:
    ids = engine.tokenizer.encode("37+85=")
    for prompt in ("37+85=", ids):
        answer = server.client.completions.create(model="tiny", prompt=prompt, echo=True, max_tokens=5)
        assert answer.choices[0].text == "37+85=122"
        with server.client.completions.create(model="tiny", prompt=prompt, echo=True, max_tokens=5, stream=True) as s:
            assert "".join(chunk.choices[0].text for chunk in s) == "37+85=122"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_chat_logprobs_are_those_of_the_logits(server: Running, engine: Engine, stream: bool) -> None:
    messages: Any = [{"role": "user", "content": "What is 12+30?"}]
    got: Any = server.client.chat.completions.create(
        model="tiny", messages=messages, logprobs=True, top_logprobs=3, stream=stream
    )
    found = [
        choice.logprobs.content for part in (got if stream else [got]) for choice in part.choices if choice.logprobs
    ]
    tokens = [token for content in found for token in content]
    prompt = engine.tokenizer.chat_ids(messages)
    new = engine.generate([prompt])[0]
    logits = engine.logits([[*prompt, *new]])[0].astype(np.float64)
    assert [token.token for token in tokens] == ["4", "2"]
    for at, token in enumerate(tokens):
        row = logits[len(prompt) - 1 + at]
        scores = row - row.max() - np.log(np.exp(row - row.max()).sum())
        assert token.logprob == pytest.approx(scores[new[at]], abs=1e-3)
        assert bytes(token.bytes) == token.token.encode()
        assert [top.logprob for top in token.top_logprobs] == pytest.approx(np.sort(scores)[::-1][:3], abs=1e-3)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_completion_logprobs_have_tokens_and_offsets(server: Running, stream: bool) -> None:
    got: Any = server.client.completions.create(model="tiny", prompt="One day", max_tokens=6, logprobs=2, stream=stream)
    choices = [choice for part in (got if stream else [got]) for choice in part.choices]
    text = "".join(choice.text for choice in choices)
    found = [choice.logprobs for choice in choices if choice.logprobs]
    tokens = [token for logprobs in found for token in logprobs.tokens]
    offsets = [offset for logprobs in found for offset in logprobs.text_offset]
    tops = [top for logprobs in found for top in logprobs.top_logprobs]
    scores = [score for logprobs in found for score in logprobs.token_logprobs]
    assert len(tokens) == len(offsets) == len(tops) == 6
    for token, offset, top, score in zip(tokens, offsets, tops, scores, strict=True):
        assert text[offset:].startswith(token)
        assert len(top) == 2
        assert max(top.values()) == pytest.approx(score, abs=1e-6)


def test_tokenize_and_detokenize(server: Running, engine: Engine) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    for body, ids in (
        ({"content": "Once upon"}, engine.tokenizer.encode("Once upon")),
        ({"prompt": "Once upon"}, engine.tokenizer.encode("Once upon")),
        ({"messages": messages}, engine.tokenizer.chat_ids(messages)),
    ):
        answer = server.post("/tokenize", body).json()
        assert (answer["tokens"], answer["count"]) == (ids, len(ids))
    assert server.post("/detokenize", {"tokens": engine.tokenizer.encode("Once upon")}).json()["content"] == "Once upon"


def test_models_health_and_metrics(server: Running) -> None:
    (model,) = server.client.models.list().data
    assert model.id == server.client.models.retrieve("tiny").id == "tiny"
    with server.http as http:
        assert http.get("/health").json() == {"status": "ok"}
        before = http.get("/metrics").text
        http.post("/v1/completions", json={"prompt": "5+5=", "max_tokens": 2, "ignore_eos": True})
        after = http.get("/metrics").text
    name = 'archc_new_tokens_total{model="tiny"}'
    counts = [float(text.partition(name)[2].split()[0]) for text in (before, after)]
    assert counts[1] - counts[0] == 2


def test_a_server_of_one_model_accepts_any_name(server: Running) -> None:
    answer = server.client.completions.create(model="gpt-4o", prompt="5+5=", max_tokens=2)
    assert (answer.model, answer.choices[0].text) == ("tiny", "10")
