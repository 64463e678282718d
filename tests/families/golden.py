"""Recorded outputs of the references: what archc is held to even when the reference's package changes."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tests.families.built import Built
from tests.families.checks import TOLERANCE, difference, outputs_of, padded
from tests.families.collection import module_name

FOLDER = Path(__file__).parent.parent / "golden"
SHORT = 4  # tokens of the second prompt
_MARGIN = 1e-2  # by which a greedy choice leads: far more than rounding can turn
_DISTINCT = 5  # different tokens in a golden sequence
_CORNER = 3  # of an encoder's outputs, the first rows and columns


def golden_file(family: str) -> Path:
    """Where a family's recorded outputs are."""
    return FOLDER / f"{module_name(family)}.json"


def record(family: str, cases: list[Built]) -> dict[str, Any]:
    """What the references compute, with what they are."""
    return {
        "family": family,
        "command": f"python -m tests.families.record {family}",
        "versions": {package: version(package) for package in ("torch", "transformers")},
        "cases": {built.case.name: {"reference": built.reference.source, **_recorded(built)} for built in cases},
    }


def _recorded(built: Built) -> dict[str, Any]:
    if built.is_decoder:
        name = "sources" if built.answers else "prompts"
        rows = [_greedy(built, length, seed) for length, seed in ((built.case.length, 100), (SHORT, 200))]
        return {name: [prompt for prompt, _ in rows], "tokens": [tokens for _, tokens in rows]}
    ids, types = built.ids(2, built.case.length, seed=100), built.token_types(2, built.case.length)
    outputs = built.reference.outputs(ids, types)
    return {
        "ids": ids,
        "token_types": types,
        "outputs": {role: np.round(_corner(outputs[role]).astype(float), 5).tolist() for role in built.roles()},
    }


def _greedy(built: Built, length: int, seed: int) -> tuple[list[int], list[int]]:
    """A prompt and its greedy tokens, of the first seed where every choice is clear and the tokens vary."""
    for attempt in range(400):
        sources = built.sources(1, length, seed + attempt)
        prompt = sources[0] if sources is not None else built.ids(1, length, seed + attempt)[0]
        tokens = _clear_choices(built, prompt)
        if varied(tokens):
            return prompt, tokens
    raise RuntimeError(f"{built.family}-{built.case.name}: no prompt makes it write varied tokens")


def _clear_choices(built: Built, prompt: list[int]) -> list[int]:
    """Greedy tokens, as far as each leads by the margin."""
    ids = list(built.case.lead if built.answers else prompt)
    begin = len(ids)
    while len(ids) < begin + built.case.tokens:
        if built.answers:
            logits = built.reference.outputs([ids], source=[prompt])["logits"][0, -1]
        elif built.case.depends_on_calls:
            logits = built.reference.in_steps(ids, [begin, *[1] * (len(ids) - begin)])[-1]
        else:
            logits = built.reference.outputs([ids])["logits"][0, -1]
        second, first = np.sort(logits)[-2:]
        if first - second < _MARGIN:
            break
        ids.append(int(logits.argmax()))
    return ids[begin:]


def varied(tokens: list[int]) -> bool:
    """Whether a sequence says something: few tokens of it repeat."""
    return len(set(tokens)) >= _DISTINCT


def check_golden(built: Built) -> float:
    """The plan gives what was recorded: a decoder its tokens exactly, as one ragged batch; an encoder its numbers."""
    recorded = json.loads(golden_file(built.family).read_text("utf-8"))["cases"][built.case.name]
    if built.is_decoder:
        count = max(map(len, recorded["tokens"]))
        assert all(varied(tokens) for tokens in recorded["tokens"])
        if built.answers:
            assert built.engine.manifest.tokens.start == built.case.lead
        prompts = recorded["sources" if built.answers else "prompts"]
        written = built.engine.generate(padded(prompts), count, ignore_eos=True)
        # A row was recorded as far as its choices are clear.
        assert [row[: len(tokens)] for row, tokens in zip(written, recorded["tokens"], strict=True)] == recorded[
            "tokens"
        ]
        return 0.0
    outputs = outputs_of(built, recorded["ids"], recorded["token_types"])
    worst = max(difference(_corner(outputs[role]), np.array(recorded["outputs"][role])) for role in built.roles())
    assert worst < TOLERANCE
    return worst


def _corner(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values[tuple(slice(_CORNER) for _ in values.shape)]
