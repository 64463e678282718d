"""Beam search with every encoder-decoder spec and a few decoders: equal to transformers' generate, token by token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from archc.proof.built import Built, use_one_thread
from archc.proof.case import Reference
from archc.proof.from_transformers import FromTransformers
from tests.families.collection import all_cases, cases_of
from tests.reference.fsmt import TokenByToken
from tests.reference.transformer import ByTorch, Generating

# A case of each kind of state that a beam copies: KV cache, ring buffer, recurrent state.
DECODERS = [("llama", "grouped"), ("mistral", "window"), ("jamba", "experts")]
LENGTH = 16
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two-beams": {"num_beams": 2, "early_stopping": True},
    "early": {"early_stopping": True, "length_penalty": 2.0},
    "never": {"early_stopping": "never", "length_penalty": 0.6},
    "short": {"length_penalty": -1.0, "num_beams": 3},
    "rules": {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "min_new_tokens": 4, "renormalize_logits": True},
    "forced-end": {"forced_eos_token_id": 2},
}


def generating_cases() -> list[Any]:
    """Return every encoder-decoder case, of which those after a family's first are slow, and those of DECODERS."""
    chosen = [(family, case) for family, name in DECODERS for case in cases_of(family) if case.name == name]
    answering = [(family, case) for family, case in all_cases() if case.topology == "encoder-decoder"]
    slow = (pytest.mark.slow,)
    return [
        *chosen,
        *(pytest.param(pair, marks=() if pair[1] == cases_of(pair[0])[0] else slow) for pair in answering),
    ]


def generating(reference: Reference) -> Any:
    """Return the reference with the method `generate` of transformers."""
    if isinstance(reference, ByTorch):
        return Generating(reference.model)
    assert isinstance(reference, FromTransformers)
    return reference.model


@pytest.fixture(scope="module", params=generating_cases(), ids=lambda item: f"{item[0]}-{item[1].name}")
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    use_one_thread()
    family, case = request.param
    built = Built(family, case, tmp_path_factory.mktemp(family))
    yield built
    built.close()


@pytest.mark.parametrize("settings", SETTINGS)
def test_beams_equal_those_of_transformers(built: Built, settings: str) -> None:
    model, case = generating(built.reference), built.case
    options = {"num_beams": 4, "max_length": LENGTH, "do_sample": False} | SETTINGS[settings]
    vocab = built.engine.vocab_size
    ends = list(range(2, vocab, 25))
    prompts = [[9, 33, 4, 21, 20], [3, 8], [12, 12, 31, 12, 12, 31, 12]]
    cached = isinstance(built.reference, TokenByToken)  # without a cache, its `generate` has no causal mask
    decoder_ids = [list(case.lead)] * len(prompts) if case.topology == "encoder-decoder" else None
    rows = built.engine.generate(
        prompts, decoder_ids=decoder_ids, ignore_eos=True, stop_token_ids=ends, defaults=False, **without(options)
    )
    model.generation_config = GenerationConfig(
        eos_token_id=ends, pad_token_id=1, decoder_start_token_id=next(iter(case.lead), None), **options
    )
    for ids, row in zip(prompts, rows, strict=True):
        more = {"decoder_input_ids": torch.tensor([list(case.lead)])} if decoder_ids else {}
        with torch.no_grad():
            (tokens,) = model.generate(torch.tensor([ids]), use_cache=cached, **more).tolist()
        new = tokens[len(case.lead) if decoder_ids else len(ids) :]
        expected = new[: next((index for index, token in enumerate(new) if token in ends), len(new))]
        assert row == expected


def without(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that archc has."""
    return {name: value for name, value in options.items() if name != "do_sample"}
