"""Recorded outputs of the references, which archc must reproduce even when the reference's package changes."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from archc.proof.built import Built
from archc.proof.checks import TOLERANCE, Array, difference, padded, plan_outputs

FILE = Path(__file__).parent / "data/golden.jsonl"  # a line for each case
SHORT = 4  # tokens of the second prompt
_MARGIN = 1e-2  # lead of each greedy choice, far above rounding errors
_DISTINCT = 5  # different tokens in a golden sequence
_CORNER = 3  # rows and columns that are recorded of an output
_DIGITS = 5


@cache
def recorded_cases() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the recorded outputs of every case, by the names of its family and of the case."""
    lines = FILE.read_text("utf-8").splitlines()
    return {(line["family"], line["case"]): line for line in map(json.loads, lines)}


def record(built: Built) -> dict[str, Any]:
    """Return the outputs of a case's reference, with their provenance."""
    return {
        "family": built.family,
        "case": built.case.name,
        "reference": built.reference.provenance,
        "torch": version("torch"),
        **_recorded(built),
    }


def _recorded(built: Built) -> dict[str, Any]:
    if built.is_decoder:
        name = "sources" if built.is_encoder_decoder else "prompts"
        rows = [_greedy(built, length, seed) for length, seed in ((built.case.length, 100), (SHORT, 200))]
        prompts, tokens = [prompt for prompt, _ in rows], [tokens for _, tokens in rows]
        corners = [_rounded(_end_corner(_reference_logits(built, *row))) for row in rows]
        return {name: prompts, "tokens": tokens, "logits": corners}
    ids, types = built.ids(2, built.case.length, seed=100), built.token_types(2, built.case.length)
    outputs = built.reference.outputs(ids, types)
    return {
        "ids": ids,
        "token_types": types,
        "outputs": {role: _rounded(_corner(outputs[role])) for role in built.roles()},
    }


def _greedy(built: Built, length: int, seed: int) -> tuple[list[int], list[int]]:
    """Return a prompt and its greedy tokens, of the first seed for which every choice is clear and the tokens vary."""
    for attempt in range(400):
        sources = built.sources(1, length, seed + attempt)
        prompt = sources[0] if sources is not None else built.ids(1, length, seed + attempt)[0]
        tokens = _clear_choices(built, prompt)
        if varied(tokens):
            return prompt, tokens
    raise RuntimeError(f"{built.family}-{built.case.name}: no prompt leads to varied tokens")


def _clear_choices(built: Built, prompt: list[int]) -> list[int]:
    """Return the greedy tokens up to the first choice whose lead is below the margin."""
    ids = list(built.case.lead if built.is_encoder_decoder else prompt)
    begin = len(ids)
    while len(ids) < begin + built.case.tokens:
        sizes = [begin, *[1] * (len(ids) - begin)]
        if built.is_encoder_decoder and built.case.depends_on_calls:
            logits = built.reference.in_steps(ids, sizes, prompt)[-1]
        elif built.is_encoder_decoder:
            logits = built.reference.outputs([ids], source=[prompt])["logits"][0, -1]
        elif built.case.depends_on_calls and built.engine.manifest.limits.reread_past is None:
            logits = built.reference.in_steps(ids, sizes)[-1]
        else:
            logits = built.reference.outputs([ids])["logits"][0, -1]
        second, first = np.sort(logits)[-2:]
        if first - second < _MARGIN:
            break
        ids.append(int(logits.argmax()))
    return ids[begin:]


def varied(tokens: list[int]) -> bool:
    """Return whether a sequence has enough different tokens to be a witness."""
    return len(set(tokens)) >= _DISTINCT


def _decoder_ids(built: Built, tokens: list[int]) -> list[int]:
    """Return the decoder's input of an encoder-decoder's recorded logits: start tokens and some of the output."""
    return [*built.case.lead, *tokens[:_CORNER]]


def _reference_logits(built: Built, prompt: list[int], tokens: list[int]) -> Array:
    """Return the reference's logits [seq, vocab] of one prompt."""
    if built.is_encoder_decoder:
        return built.reference.outputs([_decoder_ids(built, tokens)], source=[prompt])["logits"][0]
    return built.reference.outputs([prompt])["logits"][0]


def check_golden(built: Built) -> float:
    """Compare the plan with the record: a decoder's greedy tokens and logits, an encoder's outputs."""
    recorded = recorded_cases()[built.family, built.case.name]
    if built.is_decoder:
        _check_tokens(built, recorded)
        worst = _check_logits(built, recorded)
    else:
        outputs = plan_outputs(built, recorded["ids"], recorded["token_types"])
        worst = max(difference(_corner(outputs[role]), np.array(recorded["outputs"][role])) for role in built.roles())
    assert worst < TOLERANCE
    return worst


def _check_tokens(built: Built, recorded: dict[str, Any]) -> None:
    """Check that a decoder generates the recorded tokens, both prompts as one ragged batch."""
    count = max(map(len, recorded["tokens"]))
    assert all(varied(tokens) for tokens in recorded["tokens"])
    if built.is_encoder_decoder:
        assert built.engine.manifest.tokens.start == built.case.lead
    prompts = recorded["sources" if built.is_encoder_decoder else "prompts"]
    generated = built.engine.generate(padded(prompts), count, ignore_eos=True)
    # A row was recorded up to its first unclear choice.
    assert [row[: len(tokens)] for row, tokens in zip(generated, recorded["tokens"], strict=True)] == recorded["tokens"]


def _check_logits(built: Built, recorded: dict[str, Any]) -> float:
    """Return the largest difference from the recorded logits, each prompt in one call."""
    worst = 0.0
    prompts = recorded["sources" if built.is_encoder_decoder else "prompts"]
    for prompt, tokens, corner in zip(prompts, recorded["tokens"], recorded["logits"], strict=True):
        if built.is_encoder_decoder:
            logits = built.engine.logits([prompt], decoder_ids=[_decoder_ids(built, tokens)])[0]
        else:
            logits = built.engine.logits([prompt])[0]
        worst = max(worst, difference(_end_corner(logits), np.array(corner)))
    return worst


def _corner(values: Array) -> Array:
    """Return the first rows and columns of an output, along every axis."""
    return values[tuple(slice(_CORNER) for _ in values.shape)]


def _end_corner(logits: Array) -> Array:
    """Return the logits [3, 3] of the last positions, which depend on the whole prompt."""
    return logits[-_CORNER:, :_CORNER]


def _rounded(values: Array) -> list[Any]:
    return np.round(values.astype(float), _DIGITS).tolist()
