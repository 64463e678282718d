"""The class for `map_batches`, called as an actor of Ray Data calls it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from archc.error import Error
from archc.runtime import Engine
from archc.serve.ray.data import Generate


@pytest.fixture(scope="module")
def generate(qwen: Path) -> Iterator[Generate]:
    made = Generate(qwen, slots=2, threads=1, max_tokens=8, temperature=0)
    yield made
    made.close()


def test_rows_have_the_answers_of_the_engine_in_their_order(generate: Generate, engine: Engine) -> None:
    prompts = ["37+85=", "Once upon a time", "", "12+30=", "One day", "Tom", "1+1="]
    result = generate({"prompt": np.array(prompts, object), "number": np.arange(7)})
    assert engine.tokenizer is not None
    expected = [engine.generate([engine.tokenizer.encode(p)], max_new_tokens=8)[0] if p else [] for p in prompts]
    assert [row.tolist() for row in result["token_ids"]] == expected
    assert result["text"][0] == "122"
    assert set(result["finish_reason"]) == {"eos", "length", ""}
    assert [bool(error) for error in result["error"]] == [not prompt for prompt in prompts]
    assert result["number"].tolist() == list(range(7))


def test_columns_of_ids_and_of_messages(generate: Generate, engine: Engine) -> None:
    assert engine.tokenizer is not None
    ids = np.empty(1, object)
    ids[0] = np.array(engine.tokenizer.encode("37+85="))
    assert generate({"prompt": ids})["text"].tolist() == ["122"]
    messages = np.empty(1, object)
    messages[0] = np.array([{"role": "user", "content": "What is 12+30?"}])
    assert generate({"messages": messages})["text"].tolist() == ["42"]


def test_other_columns_options_and_plans_are_errors(generate: Generate, qwen: Path, bert: Path) -> None:
    with pytest.raises(Error, match="expected a column prompt or messages, got text"):
        generate({"text": np.array(["a"], object)})
    with pytest.raises(Error, match="temperature"):
        Generate(qwen, temperature=-1)
    with pytest.raises(Error, match="is an encoder"):
        Generate(bert)
