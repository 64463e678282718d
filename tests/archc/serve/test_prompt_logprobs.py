"""Log-probabilities of prompts, as lm-evaluation-harness reads them from completions with `echo`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from archc.runtime import Engine
from tests.archc.conftest import TINY
from tests.archc.serve.conftest import Running

PAIRS = [
    *(("Once upon", " a time"), ("12+30=", "42"), ("12+30=", "dog"), ("A friend ", "had a ball. " * 30)),
    ("", "The dog"),
]


def reference(engine: Engine, ids: list[int]) -> np.ndarray[Any, Any]:
    """Return log softmax of the logits before each token but the first, float64 [n - 1, vocab]."""
    logits = engine.logits([ids])[0][: len(ids) - 1].astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    scores: np.ndarray[Any, Any] = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return scores


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("new", [0, 3])
def test_echo_has_the_log_probabilities_of_the_prompt(server: Running, engine: Engine, stream: bool, new: int) -> None:
    text = "The little dog had a red ball, and 37+85=122. " * 8  # several pieces
    ids = engine.tokenizer.encode(text)
    got: Any = server.client.completions.create(
        model="tiny",
        prompt=text,
        max_tokens=new,
        logprobs=2,
        echo=True,
        stream=stream,
        extra_body={"ignore_eos": True},
        **({"stream_options": {"include_usage": True}} if stream else {}),
    )
    parts = list(got) if stream else [got]
    assert parts[-1].usage.completion_tokens == new
    choices = [choice for part in parts for choice in part.choices]
    answer = "".join(choice.text for choice in choices)
    found = [choice.logprobs for choice in choices if choice.logprobs]
    tokens = [token for each in found for token in each.tokens]
    scores = [score for each in found for score in each.token_logprobs]
    tops = [top for each in found for top in each.top_logprobs]
    offsets = [offset for each in found for offset in each.text_offset]
    assert answer.startswith(text)
    assert len(tokens) == len(scores) == len(tops) == len(offsets) == len(ids) + new
    assert (scores[0], tops[0], choices[-1].finish_reason) == (None, None, "length")
    for token, offset in zip(tokens, offsets, strict=True):
        assert answer[offset:].startswith(token)
    expected = reference(engine, ids)
    assert scores[1 : len(ids)] == pytest.approx(expected[np.arange(len(ids) - 1), ids[1:]], abs=1e-3)
    for top, row in zip(tops[1 : len(ids)], expected, strict=True):
        assert sorted(top.values()) == pytest.approx(np.sort(row)[-2:], abs=1e-3)


def test_scored_prompts_are_computed_whole_and_alone(server: Running, engine: Engine) -> None:
    ids = engine.tokenizer.encode("Once upon a time there was a little dog. The dog had a ball.")
    ask: dict[str, Any] = {"model": "tiny", "prompt": [ids, ids[:20]], "max_tokens": 1, "logprobs": 0, "echo": True}
    for _ in range(2):  # the second time, all of it has been computed before
        for choice, row in zip(server.client.completions.create(**ask).choices, (ids, ids[:20]), strict=True):
            assert choice.logprobs is not None
            expected = reference(engine, row)[np.arange(len(row) - 1), row[1:]]
            assert choice.logprobs.token_logprobs[1:-1] == pytest.approx(expected, abs=1e-3)


def test_max_tokens_of_zero_needs_echo(server: Running) -> None:
    answer = server.post("/v1/completions", {"prompt": "5+5=", "max_tokens": 0, "echo": True}).json()
    assert (answer["choices"][0]["text"], answer["usage"]["completion_tokens"]) == ("5+5=", 0)
    assert server.post("/v1/completions", {"prompt": "5+5=", "max_tokens": 0}).status_code == 400


def test_the_harness_has_the_same_results_through_http(server: Running, engine: Engine) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    from archc.evaluation.harness import PlanModel

    url = f"{server.url}/v1/completions"
    client = LocalCompletionsAPI(
        base_url=url, model="tiny", tokenizer=str(TINY), tokenizer_backend="huggingface", max_length=512, batch_size=4
    )
    alone = PlanModel(engine)
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in PAIRS]
    for (value, is_greedy), (other, other_greedy) in zip(
        client.loglikelihood(requests), alone.loglikelihood(requests), strict=True
    ):
        assert value == pytest.approx(other, rel=1e-4, abs=1e-4)
        assert is_greedy == other_greedy
    texts = [Instance("loglikelihood_rolling", {}, ("The dog had a red ball. " * 5,), 0)]
    assert client.loglikelihood_rolling(texts) == pytest.approx(alone.loglikelihood_rolling(texts), rel=1e-4)
    options = {"until": ["\n"], "max_gen_toks": 6, "do_sample": False}
    prompts = [Instance("generate_until", {}, (f"{a}+{a}=", options), 0) for a in (12, 40)]
    assert client.generate_until(prompts) == alone.generate_until(prompts) == ["24", "80"]
