"""Sampling options: defaults, ranges and unknown names."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from archc.runtime import PromptError, SamplingOptions
from archc.runtime.engine import Engine


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens: expected an integer of at least 1, got 0"),
        ({"max_new_tokens": 1.5}, "max_new_tokens: expected an integer of at least 1, got 1.5"),
        ({"temperature": -1}, r"temperature: expected a number of at least 0 .*, got -1"),
        ({"temperature": float("nan")}, "temperature: .*, got nan"),
        ({"temperature": "hot"}, "temperature: expected a number, got 'hot'"),
        ({"temperature": True}, "temperature: expected a number, got True"),
        ({"top_p": 0}, "top_p: expected a number above 0 and at most 1"),
        ({"top_p": float("inf")}, "top_p: .*, got inf"),
        ({"top_k": -1}, "top_k: expected an integer of at least 0"),
        ({"top_k": 1.5}, "top_k: .*, got 1.5"),
        ({"top_k": True}, "top_k: .*, got True"),
        ({"min_p": 2}, "min_p: expected a number between 0 and 1"),
        ({"repetition_penalty": 0}, "repetition_penalty: expected a number above 0"),
        ({"seed": -1}, "seed: expected an integer of at least 0, or None, got -1"),
        ({"seed": 0.5}, "seed: .*, got 0.5"),
        ({"stop": [""]}, "stop: expected a non-empty string, or a list of them"),
        ({"stop": [7]}, "stop: expected a non-empty string, or a list of them"),
        ({"stop_token_ids": ["x"]}, "stop_token_ids: expected a list of token ids"),
        ({"stop_token_ids": 7}, "stop_token_ids: expected a list of token ids, got 7"),
        ({"stop_token_ids": "ab"}, "stop_token_ids: expected a list of token ids, got 'ab'"),
        ({"stop_token_ids": [1.5]}, "stop_token_ids: expected a list of token ids"),
        ({"stop": 7}, "stop: expected a non-empty string, or a list of them, got 7"),
        ({"suppress_tokens": 3}, "suppress_tokens: expected a list of token ids, got 3"),
        ({"bad_words_ids": [[]]}, "bad_words_ids: expected a list of non-empty lists of token ids"),
        ({"bad_words_ids": [3]}, "bad_words_ids: expected a list of non-empty lists of token ids"),
        ({"sequence_bias": [[1], 2]}, "sequence_bias: expected a list of pairs"),
        ({"logit_bias": {1: -101}}, "logit_bias: expected a mapping of token ids to numbers from -100 to 100"),
        ({"logit_bias": {1: float("nan")}}, "logit_bias: expected a mapping"),
        ({"logit_bias": {"1": 1}}, "logit_bias: expected a mapping"),
        ({"logit_bias": [(1, 1)]}, "logit_bias: expected a mapping"),
        ({"presence_penalty": 2.5}, "presence_penalty: expected a number from -2 to 2"),
        ({"frequency_penalty": "x"}, "frequency_penalty: expected a number, got 'x'"),
        ({"typical_p": 0}, "typical_p: expected a number above 0 and at most 1"),
        ({"epsilon_cutoff": -1}, "epsilon_cutoff: expected a number between 0 and 1"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size: expected an integer of at least 0"),
        ({"min_new_tokens": 1.0}, "min_new_tokens: expected an integer of at least 0, got 1.0"),
        ({"forced_eos_token_id": "x"}, "forced_eos_token_id: expected a token id, or a list of them"),
        ({"exponential_decay_length_penalty": 3}, "exponential_decay_length_penalty: expected a pair"),
        ({"sequence_bias": [[[1], float("nan")]]}, "sequence_bias: expected a list of pairs"),
        ({"num_beams": 0}, "num_beams: expected an integer from 1 to 1024, got 0"),
        ({"early_stopping": "always"}, "early_stopping: expected True, False or 'never', got 'always'"),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_values_out_of_range_are_explained(options, message):
    with pytest.raises(PromptError, match=message):
        SamplingOptions(**options)


def test_an_unknown_keyword_is_explained():
    with pytest.raises(PromptError, match=r"unknown option 'warmth'; expected one of max_new_tokens, temperature, "):
        SamplingOptions.from_keywords({"warmth": 1})


def test_numbers_of_numpy_and_one_stop_string_are_accepted():
    options = SamplingOptions(max_new_tokens=np.int64(3), temperature=np.float32(0.5), stop="x", stop_token_ids=[7])
    assert options.stop_strings == ("x",)
    assert SamplingOptions(stop=["x", "y"]).stop_strings == ("x", "y")
    assert SamplingOptions(stop="").stop_strings == ()
    with pytest.raises(FrozenInstanceError):
        options.seed = 1


def test_keywords_of_generate_have_the_names_and_defaults_of_the_options():
    parameters = inspect.signature(Engine.generate).parameters
    generate = {name: item.default for name, item in parameters.items() if item.kind is not item.VAR_KEYWORD}
    options = {field.name: field.default for field in fields(SamplingOptions)}
    assert {name: default for name, default in generate.items() if name in options}.items() <= options.items()
    assert generate.keys() - options.keys() == {"self", "ids", "on_token", "decoder_ids"}
    # Positions of arguments are part of the interface.
    assert list(generate)[2:12] == list(options)[:10]
