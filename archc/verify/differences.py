"""Differences of outputs, and of greedy tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archc.compiler.errors import BuildError
from archc.verify.prompts import Ids
from archc.verify.references import Floats, Reference
from archc.verify.report import Difference, Divergence
from archc.verify.tolerance import Tolerance


def compare_output(
    role: str, outputs: Sequence[Floats], references: Sequence[Floats], tolerance: Tolerance
) -> Difference:
    """Return the difference of one output over all prompts. Raises BuildError if the shapes differ."""
    largest, prompt_of_largest, index = -1.0, 0, tuple[int, ...]()
    squares = np.zeros(2)
    for prompt, (values, expected) in enumerate(zip(outputs, references, strict=True)):
        if values.shape != expected.shape:
            raise BuildError(
                f"{role}: expected the reference's shape {list(expected.shape)}, got {list(values.shape)} from the "
                "plan; name the checkpoint that the plan was built from"
            )
        with np.errstate(invalid="ignore", over="ignore"):
            gaps = np.where(np.isfinite(values) & np.isfinite(expected), np.abs(values - expected), np.inf)
            squares += np.square(gaps, dtype=np.float64).sum(), np.square(expected, dtype=np.float64).sum()
        if float(gaps.max()) > largest:
            largest, prompt_of_largest = float(gaps.max()), prompt
            index = tuple(map(int, np.unravel_index(int(gaps.argmax()), gaps.shape)))
    return Difference(
        output=role,
        largest=largest,
        allowed=tolerance.allowed(max(float(np.abs(expected).max()) for expected in references)),
        prompt=prompt_of_largest,
        position=index[0] if len(index) > 1 else 0,
        index=index[-1],
        plan=float(outputs[prompt_of_largest][index]),
        reference=float(references[prompt_of_largest][index]),
        rms=float(np.sqrt(squares[0] / squares[1])) if squares[1] else float(squares[0] > 0),
        rms_allowed=tolerance.rms,
    )


def find_divergence(
    prompt: int,
    reference: Reference,
    ids: Ids,
    tokens: Ids,
    tie: float,
    start: Ids | None = None,
    never: Sequence[int] = (),
    reread_past: int | None = None,
    in_steps: bool = False,
) -> Divergence | None:
    """Return the first greedy token that differs, or None; logits closer than twice `tie` are a tie.

    One call of the reference is enough: up to the first difference both have read the same tokens, so the largest
    logits over the plan's tokens are the reference's own greedy choices. If the rotation of a token depends on the
    length of its call, tokens up to `reread_past` come from a call of their own (LongRoPE), or with `in_steps` each
    token from a call over the reference's cache (dynamic NTK).
    """
    if not tokens:
        return None
    if start is None:
        texts = [*ids, *tokens[:-1]]
        if in_steps:
            logits = reference.steps(ids, tokens[:-1])
        else:
            logits = reference.outputs(texts)["logits"]
            if reread_past is not None and len(ids) <= reread_past < len(texts):
                logits = np.concatenate((reference.outputs(texts[:reread_past])["logits"], logits[reread_past:]))
            logits = logits[len(ids) - 1 :]
    else:
        logits = reference.outputs(ids, [*start, *tokens[:-1]])["logits"][len(start) - 1 :].copy()
        logits[:, list(never)] = -np.inf
    for index, (token, row) in enumerate(zip(tokens, logits, strict=True)):
        best = int(row.argmax())
        if best != token:
            gap = float(row[best] - row[token])
            # Each of the two logits may be off by the tolerance.
            return Divergence(prompt, index, token, best, gap, gap <= 2 * tie)
    return None
