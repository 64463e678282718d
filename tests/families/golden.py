"""Recorded outputs of the references: what archc is held to even when the reference's package changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tests.families.built import Built
from tests.families.case import Reference
from tests.families.checks import TOLERANCE, difference, outputs_of, padded
from tests.families.collection import module_name

FOLDER = Path(__file__).parent.parent / "golden"
SHORT = 4  # tokens of the second prompt
_MARGIN = 1e-2  # by which a greedy choice leads: far more than rounding can turn
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
        rows = [_greedy(built, length, seed) for length, seed in ((built.case.length, 100), (SHORT, 200))]
        return {"prompts": [prompt for prompt, _ in rows], "tokens": [tokens for _, tokens in rows]}
    ids, types = built.ids(2, built.case.length, seed=100), built.token_types(2, built.case.length)
    outputs = built.reference.outputs(ids, types)
    return {"ids": ids, "token_types": types, "outputs": {role: _corner(outputs[role]).tolist() for role in built.roles()}}


def _greedy(built: Built, length: int, seed: int) -> tuple[list[int], list[int]]:
    """A prompt and its greedy tokens, of the first seed where the choices are clear and the tokens vary."""
    for attempt in range(200):
        prompt = built.ids(1, length, seed + attempt)[0]
        tokens, clear = [], True
        for token, margin in _choices(built.reference, prompt, built.case.tokens):
            tokens.append(token)
            clear = clear and margin > _MARGIN
        if clear and len(set(tokens)) > built.case.tokens // 2:
            return prompt, tokens
    raise RuntimeError(f"{built.family}-{built.case.name}: no prompt makes it write varied tokens")


def _choices(reference: Reference, prompt: list[int], count: int) -> Iterator[tuple[int, float]]:
    ids = list(prompt)
    for step in range(count):
        logits = reference.in_steps(ids, [len(prompt), *[1] * step])[-1]
        second, first = np.sort(logits)[-2:]
        ids.append(int(logits.argmax()))
        yield ids[-1], float(first - second)


def check_golden(built: Built) -> float:
    """The plan gives what was recorded: a decoder its tokens exactly, as one ragged batch; an encoder its numbers."""
    recorded = json.loads(golden_file(built.family).read_text("utf-8"))["cases"][built.case.name]
    if built.is_decoder:
        count = len(recorded["tokens"][0])
        assert len(set(recorded["tokens"][0])) > count // 2, "the recorded tokens repeat"
        assert built.engine.generate(padded(recorded["prompts"]), count, ignore_eos=True) == recorded["tokens"]
        return 0.0
    outputs = outputs_of(built, recorded["ids"], recorded["token_types"])
    worst = max(difference(_corner(outputs[role]), np.array(recorded["outputs"][role])) for role in built.roles())
    assert worst < TOLERANCE
    return worst


def _corner(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values[tuple(slice(_CORNER) for _ in values.shape)]
