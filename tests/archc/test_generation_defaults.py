"""The settings of generation_config.json as a plan's defaults: equal to transformers' generate, token by token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import to_builtins
from transformers import GenerationConfig

import archc as api
from archc.compiler.weights.checkpoint.generation import special_tokens
from archc.proof.from_transformers import FromTransformers
from archc.runtime.generation.settings import Settings
from tests.archc.conftest import Archc
from tests.reference.bart import bart
from tests.reference.llama import llama
from tests.runtime.tiny import rewritten

START = 5
RULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "repetition-penalty": {"repetition_penalty": 1.5},
    "no-repeated-pair": {"no_repeat_ngram_size": 2},
    "no-repeated-token": {"no_repeat_ngram_size": 1},
    "least-new-tokens": {"min_new_tokens": 9, "eos_token_id": list(range(0, 97, 3))},
    "least-length": {"min_length": 8, "eos_token_id": list(range(0, 97, 3))},
    "suppressed": {"suppress_tokens": list(range(0, 97, 2)), "begin_suppress_tokens": [7, 9, 11, 13]},
    "bad-words": {"bad_words_ids": [[token] for token in range(40, 80)] + [[1, 2], [3, 4, 5]]},
    "bad-pairs": {"bad_words_ids": [[a, b] for a in range(97) for b in range(0, 97, 2)]},
    "sequence-bias": {"sequence_bias": [[[12], 5.0], [[12, 12], -9.0], [[12, 31], 4.0]]},
    "forced-ends": {"forced_bos_token_id": 17, "forced_eos_token_id": 2, "eos_token_id": 2},
    "decay": {"exponential_decay_length_penalty": [3, 1.6], "eos_token_id": [2, 30, 31, 32]},
    "greedy-next-to-sampling-values": {"do_sample": False, "temperature": 0.3, "top_p": 0.2, "repetition_penalty": 1.2},
    "together": {
        "repetition_penalty": 1.2,
        "no_repeat_ngram_size": 3,
        "min_new_tokens": 4,
        "bad_words_ids": [[8], [9, 10]],
        "suppress_tokens": [1, 2, 3],
        "eos_token_id": [40, 41, 42],
    },
}
SOURCE_RULES: dict[str, dict[str, Any]] = {
    "source-penalty": {"encoder_repetition_penalty": 2.5},
    "source-pairs": {"encoder_no_repeat_ngram_size": 1},
}
PROMPTS = [[25, 96, 58, 30, 45], [3], [12, 12, 31, 12, 12, 31, 12]]


@pytest.fixture(scope="module")
def decoder() -> FromTransformers:
    """Return a tiny decoder."""
    return llama(4, vocab_size=97)


@pytest.fixture(scope="module")
def encoder_decoder() -> FromTransformers:
    """Return a tiny encoder-decoder."""
    return bart(1)


def build(reference: FromTransformers, folder: Path, settings: dict[str, Any]) -> Path:
    """Return the plan of a checkpoint with that generation_config.json."""
    reference.model.generation_config = GenerationConfig()
    reference.save(folder / "checkpoint")
    (folder / "checkpoint" / "generation_config.json").write_text(json.dumps(settings), "utf-8")
    return api.build(folder / "checkpoint", out=folder / "engine.plan")


def expected(reference: FromTransformers, ids: list[int], settings: dict[str, Any], **options: Any) -> list[int]:
    """Return the tokens that transformers generates after the prompt; its end token is left out."""
    reference.model.generation_config = GenerationConfig(**settings)
    with torch.no_grad():
        (row,) = reference.model.generate(torch.tensor([ids]), pad_token_id=1, use_cache=False, **options).tolist()
    begin = 1 if reference.model.config.is_encoder_decoder else len(ids)
    ends = settings.get("eos_token_id", [])
    ends = ends if isinstance(ends, list) else [ends]
    new: list[int] = row[begin:]
    return new[: next((index for index, token in enumerate(new) if token in ends), len(new))]


@pytest.fixture(scope="module")
def plans(
    decoder: FromTransformers, encoder_decoder: FromTransformers, tmp_path_factory: pytest.TempPathFactory
) -> dict[FromTransformers, Path]:
    """Return a plan of each reference, without settings."""
    return {item: build(item, tmp_path_factory.mktemp("plan"), {}) for item in (decoder, encoder_decoder)}


def with_settings(plan: Path, folder: Path, settings: dict[str, Any]) -> api.Engine:
    """Return the engine of a plan with the settings that a build reads from that generation_config.json."""
    (folder / "generation_config.json").write_text(json.dumps(settings), "utf-8")

    def change(_graphs: Any, manifest: dict[str, Any]) -> None:
        answers = manifest["topology"] == "encoder-decoder"
        tokens = special_tokens(folder, None, manifest["limits"]["vocab_size"], answers)
        assert not tokens.warnings
        manifest["generation"] = to_builtins(tokens.generation)
        manifest["tokens"] |= {"eos": tokens.eos, "start": tokens.start, "never": tokens.never}

    return api.load(rewritten(plan, folder / "engine.plan", change), threads=1)


@pytest.mark.parametrize("rules", RULES)
def test_a_decoder_follows_the_settings(
    rules: str, decoder: FromTransformers, plans: dict[FromTransformers, Path], tmp_path: Path
) -> None:
    settings = RULES[rules] | {"max_new_tokens": 14}
    engine = with_settings(plans[decoder], tmp_path, settings)
    rows = engine.generate(PROMPTS)
    assert rows == [expected(decoder, ids, settings) for ids in PROMPTS]
    assert (rows == engine.generate(PROMPTS, 14, defaults=False)) == (rules == "plain")
    engine.close()


@pytest.mark.parametrize("rules", RULES | SOURCE_RULES)
def test_an_encoder_decoder_follows_the_settings(
    rules: str, encoder_decoder: FromTransformers, plans: dict[FromTransformers, Path], tmp_path: Path
) -> None:
    settings = (RULES | SOURCE_RULES)[rules] | {"max_length": 15, "decoder_start_token_id": START}
    engine = with_settings(plans[encoder_decoder], tmp_path, settings)
    forced = [settings["forced_bos_token_id"]] if "forced_bos_token_id" in settings else []
    rows = [forced + row for row in engine.generate(PROMPTS)]
    assert rows == [expected(encoder_decoder, ids, settings) for ids in PROMPTS]
    assert (rows == engine.generate(PROMPTS, 14, defaults=False)) == (rules == "plain")
    engine.close()


SAMPLED = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.9, "repetition_penalty": 1.5}


@pytest.fixture(scope="module")
def sampled(decoder: FromTransformers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the plan of a checkpoint that samples, with a penalty."""
    return build(decoder, tmp_path_factory.mktemp("sampled"), SAMPLED)


def test_each_option_overrides_its_own_default(sampled: Path) -> None:
    engine = api.load(sampled, threads=1)
    manifest, ids = engine.manifest, [9, 33, 4]
    assert manifest.generation is not None
    assert manifest.generation.settings == SAMPLED
    seeds = {tuple(engine.generate(ids, seed=seed)[0]) for seed in range(8)}
    assert len(seeds) > 1
    same = {"temperature": 0.6, "top_k": 20, "top_p": 0.9, "repetition_penalty": 1.5, "seed": 3}
    assert engine.generate(ids, seed=3) == engine.generate(ids, defaults=False, **same)
    other = engine.generate(ids, defaults=False, **same | {"temperature": 2.0})
    assert engine.generate(ids, temperature=2.0, seed=3) == other
    penalized = engine.generate(ids, temperature=0)
    assert penalized == engine.generate(ids, defaults=False, repetition_penalty=1.5)
    assert engine.generate(ids, temperature=0, repetition_penalty=1) == engine.generate(ids, defaults=False)
    assert penalized != engine.generate(ids, defaults=False)
    engine.close()


def test_the_command_has_the_same_defaults(archc: Archc, sampled: Path) -> None:
    engine = api.load(sampled, threads=1)

    def run(*arguments: object) -> list[int]:
        found = archc("run", sampled, "--ids", "9,33,4", "--max-new-tokens", 12, "--json", *arguments).json
        tokens: list[int] = found["output_ids"]
        return tokens

    assert run("--seed", 5) == engine.generate([9, 33, 4], 12, seed=5)[0]
    assert run("--top-k", 1) == engine.generate([9, 33, 4], 12, top_k=1)[0]
    assert run("--temperature", 0) == engine.generate([9, 33, 4], 12, temperature=0)[0]
    assert run("--no-defaults") == engine.generate([9, 33, 4], 12, defaults=False)[0]
    engine.close()


def test_sampling_options_without_sampling_are_an_error(archc: Archc, sampled: Path) -> None:
    for arguments in (("--no-defaults", "--top-k", 3), ("--temperature", 0, "--top-k", 3)):
        result = archc("run", sampled, "--ids", "1", *arguments)
        assert result.code == 2
        assert "--top-k has no effect on greedy decoding; add --temperature 1" in result.errors[0]
    result = archc("run", sampled, "--ids", "1", "--length-penalty", 2)
    assert "--length-penalty has no effect without beam search; add --num-beams 4" in result.errors[0]


def test_inspect_shows_the_defaults(archc: Archc, sampled: Path) -> None:
    shown = "generation defaults: do_sample true, temperature 0.6, top_k 20, top_p 0.9, repetition_penalty 1.5"
    assert shown in archc("inspect", sampled).out
    assert archc("inspect", sampled, "--json").json["generation"] == SAMPLED


OPTIONS: dict[str, tuple[list[object], dict[str, Any]]] = {
    "bad-words": (["--bad-words-ids", "4,5", "--bad-words-ids", "6"], {"bad_words_ids": [[4, 5], [6]]}),
    "bias": (["--sequence-bias", "4,5=-0.5"], {"sequence_bias": [([4, 5], -0.5)]}),
    "logit-bias": (["--logit-bias", "4=-9.5", "--logit-bias", "45=3"], {"logit_bias": {4: -9.5, 45: 3}}),
    "penalties": (
        ["--presence-penalty", 1.5, "--frequency-penalty", -0.5],
        {"presence_penalty": 1.5, "frequency_penalty": -0.5},
    ),
    "suppress": (["--suppress-tokens", 4, "--suppress-tokens", 45], {"suppress_tokens": [4, 45]}),
    "begin": (["--begin-suppress-tokens", 4], {"begin_suppress_tokens": [4]}),
    "ngrams": (["--no-repeat-ngram-size", 2], {"no_repeat_ngram_size": 2}),
    "least": (["--min-new-tokens", 2, "--stop-token", 30], {"min_new_tokens": 2, "stop_token_ids": [30]}),
    "length": (["--max-length", 9, "--min-length", 3], {"max_length": 9, "min_length": 3}),
    "forced": (["--forced-eos-token-id", 2, "--max-new-tokens", 3], {"forced_eos_token_id": 2, "max_new_tokens": 3}),
    "decay": (
        ["--exponential-decay-length-penalty", "2,1.5", "--stop-token", 30],
        {"exponential_decay_length_penalty": (2, 1.5), "stop_token_ids": [30]},
    ),
    "typical": (
        ["--temperature", 1, "--seed", 1, "--typical-p", 0.5, "--epsilon-cutoff", 0.01, "--eta-cutoff", 0.02],
        {"temperature": 1, "seed": 1, "typical_p": 0.5, "epsilon_cutoff": 0.01, "eta_cutoff": 0.02},
    ),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_the_command_has_an_option_for_every_setting(archc: Archc, sampled: Path, case: str) -> None:
    arguments, keywords = OPTIONS[case]
    if case not in ("length", "forced"):
        arguments, keywords = [*arguments, "--max-new-tokens", 16], keywords | {"max_new_tokens": 16}
    engine = api.load(sampled, threads=1)
    run = archc("run", sampled, "--ids", "9,33,4", "--no-defaults", "--json", *arguments).json
    assert run["output_ids"] == engine.generate([9, 33, 4], defaults=False, **keywords)[0]
    engine.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sequence-bias", "4,5"], "--sequence-bias: expected 1,2=0.5, for example, got 4,5"),
        (["--sequence-bias", "4=nan"], "sequence_bias: expected a list of pairs of token ids and a number below"),
        (["--sequence-bias", "4=x"], "--sequence-bias: 'x' is not a number"),
        (["--logit-bias", "4"], "--logit-bias: '' is not a number"),
        (["--logit-bias", "x=1"], "--logit-bias: expected 42=-1.5, for example, got x=1"),
        (["--logit-bias", "4=1", "--logit-bias", "4=2"], "--logit-bias: token 4 occurs twice"),
        (["--logit-bias", "97=1"], "logit_bias: expected ids from 0 to 96, got 97"),
        (["--logit-bias", "4=101"], "logit_bias: expected a mapping of token ids to numbers from -100 to 100"),
        (["--exponential-decay-length-penalty", "x"], "--exponential-decay-length-penalty: expected 20,1.1"),
        (["--early-stopping", "maybe"], "--early-stopping: expected yes, no or never, got maybe"),
        (["--renormalize-logits"], "--renormalize-logits has no effect without beam search; add --num-beams 4"),
        (["--num-beams", "100000"], "num_beams: expected an integer from 1 to 1024, got 100000"),
        (["--stop-token", "97"], "stop_token_ids: expected ids from 0 to 96, got 97"),
        (["--suppress-tokens", "97"], "suppress_tokens: expected ids from 0 to 96, got 97"),
        (["--typical-p", "3", "--temperature", "1"], "typical_p: expected a number above 0 and at most 1"),
    ],
    ids=[
        "bias",
        "bias-nan",
        "bias-number",
        *(f"logit-bias-{n}" for n in range(5)),
        "decay",
        "early-stopping",
        "beams-without",
        "beams",
        "stop-token",
        "vocabulary",
        "range",
    ],
)
def test_invalid_options(archc: Archc, sampled: Path, arguments: list[str], message: str) -> None:
    result = archc("run", sampled, "--ids", "1", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.errors[0]


def test_lengths_of_the_plan_count_as_in_transformers() -> None:
    assert Settings(max_length=20).budget(6, 100) == 14
    assert Settings(max_length=20).budget(30, 100) == 1
    assert Settings(max_new_tokens=20, max_length=9).budget(6, 100) == 20
    assert Settings(max_new_tokens=20).budget(96, 100) == 4


def test_a_setting_that_is_not_supported_is_a_warning_of_the_build(archc: Archc, sampled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.symlink_to(sampled.parent / "checkpoint", target_is_directory=True)
    file = folder / "generation_config.json"
    before = file.read_text("utf-8")
    try:
        file.write_text(json.dumps({"penalty_alpha": 0.6}), "utf-8")
        result = archc("build", folder, "-o", tmp_path / "p")
        assert (result.code, "penalty_alpha is not supported and is ignored" in result.err) == (0, True)
    finally:
        file.write_text(before, "utf-8")


def test_a_plan_without_the_section_generates_as_before(sampled: Path, tmp_path: Path) -> None:
    old = rewritten(sampled, tmp_path / "old.plan", lambda graphs, manifest: manifest.pop("generation"))
    with_section, without = api.load(sampled, threads=1), api.load(old, threads=1)
    assert without.manifest.generation is None
    assert without.generate([9, 33, 4]) == with_section.generate([9, 33, 4], defaults=False)
    with_section.close()
    without.close()
