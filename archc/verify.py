"""Compares a plan with a reference: the transformers class of the checkpoint, or our own torch graph in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archc.archspec import BoundSpec
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.folder import find_checkpoint
from archc.models import bind_plan
from archc.plan import Manifest
from archc.references import Floats, Reference, TorchReference, choose_reference
from archc.runtime.engine import Engine
from archc.runtime.errors import NonFiniteLogitsError, PromptError

Progress = Callable[[str, int, int], None]

TOLERANCE = 1e-4  # absolute, for float32
HALF_TOLERANCE = 2e-2  # for the other dtypes, of the reference's largest number
NEW_TOKENS = 16
_PROMPT_LENGTHS = (1, 7, 16)
_ANSWER_LENGTH = 8


@dataclass(frozen=True)
class Difference:
    """Where one output of the plan is farthest from the reference's, and by how much."""

    output: str
    largest: float
    allowed: float
    prompt: int
    position: int
    index: int
    plan: float
    reference: float

    @property
    def ok(self) -> bool:
        """Whether it is within the tolerance; what is not a number never is."""
        return self.largest <= self.allowed


@dataclass(frozen=True)
class Divergence:
    """The first token at which a plan's greedy tokens leave the reference's, whose logits differ by `gap` there."""

    prompt: int
    token: int
    plan: int
    reference: int
    gap: float
    is_tie: bool


@dataclass(frozen=True)
class Report:
    """What a verification found."""

    reference: str
    notes: tuple[str, ...]
    prompts: tuple[tuple[int, ...], ...]
    differences: tuple[Difference, ...]
    divergences: tuple[Divergence, ...]
    new_tokens: int
    not_finite: str | None

    @property
    def ok(self) -> bool:
        """Whether every output is within the tolerance, and every greedy token equal but for ties."""
        compared = all(item.ok for item in self.differences) and all(item.is_tie for item in self.divergences)
        return compared and self.not_finite is None


def verify(
    engine: Engine,
    weights: str | Path,
    prompts: Sequence[Sequence[int]] = (),
    tolerance: float | None = None,
    new_tokens: int = NEW_TOKENS,
    progress: Progress = lambda name, done, total: None,
) -> Report:
    """Compares a plan's outputs, and a decoder's greedy tokens, with the reference on prompts, or on generated ones.

    The plan gets all prompts as one ragged batch, the reference each alone. `tolerance` is absolute; by default it is
    1e-4 for float32, and 2e-2 of the reference's largest number for other dtypes.
    Raises ArchspecError or BuildError for a checkpoint that is not the plan's, PromptError for ids that do not fit.
    """
    manifest = engine.manifest
    folder = find_checkpoint(weights)
    bound = bind_plan(manifest, str(engine.plan.path))
    rows = [list(row) for row in prompts] or _generated_prompts(manifest, new_tokens)
    answers = _generated_answers(manifest, len(rows))
    steps = 3 + 2 * len(rows)
    progress("plan", 0, steps)
    given = _plan_outputs(engine, rows, answers)
    written, overflowed = _plan_tokens(engine, rows, answers, new_tokens)
    progress("reference", 1, steps)
    reference, notes = choose_reference(bound, manifest, folder)
    expected = []
    for index, ids in enumerate(rows):
        progress(f"prompt {index}", 2 + index, steps)
        expected.append(reference.outputs(ids, answers[index] if answers else None))
    roles = [role for role in given if all(role in outputs for outputs in expected)]
    notes += [f"{role}: the reference has none, so it is not compared" for role in given if role not in roles]
    differences = [
        _difference(role, given[role], [o[role] for o in expected], tolerance, manifest.dtype) for role in roles
    ]
    if not differences:
        raise BuildError(f"{reference.name} has none of the plan's outputs, {', '.join(given)}")
    divergences = []
    begin = _start(manifest, answers)
    for index, (ids, tokens) in enumerate(zip(rows, written, strict=True)):
        progress(f"tokens after prompt {index}", 2 + len(rows) + index, steps)
        found = _divergence(index, reference, ids, tokens, differences[0].allowed, begin, manifest.tokens.never)
        if found is not None:
            divergences.append(found)
    not_finite = None
    broken = next((item.prompt for item in differences if not np.isfinite(item.largest)), None)
    if broken is not None or overflowed:
        progress("first number that is not finite", steps - 1, steps)
        texts = _texts(rows, answers, written) if broken is None else _texts(rows, answers)[broken : broken + 1]
        not_finite = _explain_not_finite(bound, manifest, folder, texts)
    progress("", steps, steps)
    return Report(
        reference=reference.name,
        notes=tuple(notes),
        prompts=tuple(tuple(row) for row in rows),
        differences=tuple(differences),
        divergences=tuple(divergences),
        new_tokens=new_tokens if manifest.topology != "encoder" else 0,
        not_finite=not_finite,
    )


def _generated_prompts(manifest: Manifest, new_tokens: int) -> list[list[int]]:
    """Random prompts of different lengths, so that their batch is ragged; padding ids are left out."""
    limits, pad = (manifest.encoder or manifest).limits, manifest.tokens.pad
    room = limits.max_seq_len - (new_tokens if manifest.topology == "decoder" else 0)
    random = np.random.default_rng(0)
    ids = np.array([token for token in range(limits.vocab_size) if token != pad] or [0])
    lengths = sorted({max(1, min(length, room)) for length in _PROMPT_LENGTHS})
    return [random.choice(ids, length).tolist() for length in lengths]


def _generated_answers(manifest: Manifest, count: int) -> list[list[int]]:
    """What an encoder-decoder has answered so far to each of `count` sources: how answers begin, and random tokens."""
    if manifest.topology != "encoder-decoder":
        return []
    random = np.random.default_rng(1)
    start = list(manifest.tokens.start or (0,))
    room = min(_ANSWER_LENGTH, max(0, manifest.limits.max_seq_len - len(start) - 1))
    ids = np.array([token for token in range(manifest.limits.vocab_size) if token != manifest.tokens.pad] or [0])
    return [[*start, *random.choice(ids, max(0, room - index)).tolist()] for index in range(count)]


def _start(manifest: Manifest, answers: list[list[int]]) -> list[int] | None:
    """How an encoder-decoder's answers begin, or None."""
    return list(manifest.tokens.start) or answers[0][:1] if answers else None


def _texts(
    rows: list[list[int]], answers: list[list[int]], written: list[list[int]] | None = None
) -> list[tuple[list[int], list[int] | None]]:
    """Each prompt with its answer, or, of a decoder, with what was written after it."""
    more = written or [[] for _ in rows]
    if answers:
        return [(row, [*answer, *new]) for row, answer, new in zip(rows, answers, more, strict=True)]
    return [([*row, *new], None) for row, new in zip(rows, more, strict=True)]


def _plan_outputs(engine: Engine, rows: list[list[int]], answers: list[list[int]]) -> dict[str, list[Floats]]:
    """The plan's outputs by role, for each prompt of one ragged batch."""
    if answers:
        logits, hidden = engine.logits(rows, decoder_ids=answers), engine.encode(rows)
        return {
            "logits": [values[: len(answer)] for values, answer in zip(logits, answers, strict=True)],
            "hidden_states": [values[: len(row)] for values, row in zip(hidden, rows, strict=True)],
        }
    functions = {"logits": engine.logits, "hidden_states": engine.encode, "pooled": engine.pooled}
    results = {output.role: functions[output.role](rows) for output in engine.manifest.outputs}
    return {
        role: [values[i] if role == "pooled" else values[i, : len(row)] for i, row in enumerate(rows)]
        for role, values in results.items()
    }


def _plan_tokens(
    engine: Engine, rows: list[list[int]], answers: list[list[int]], new_tokens: int
) -> tuple[list[list[int]], bool]:
    """The plan's greedy tokens for each prompt, and whether its numbers overflowed before there were enough."""
    written: list[list[int]] = [[] for _ in rows]
    if engine.manifest.topology == "encoder":
        return written, False
    limit = engine.manifest.limits.max_seq_len
    start = _start(engine.manifest, answers)
    if start is None and any(len(row) >= limit for row in rows):
        raise PromptError(f"a prompt fills the plan's {limit} tokens, and leaves no room to compare what it writes")
    try:
        engine.generate(
            rows, max_new_tokens=new_tokens, ignore_eos=True, on_token=lambda row, token: written[row].append(token),
            decoder_ids=[start] * len(rows) if start is not None else None,
        )  # fmt: skip
    except NonFiniteLogitsError:
        return written, True
    return written, False


def _difference(
    role: str, given: list[Floats], expected: list[Floats], tolerance: float | None, dtype: str
) -> Difference:
    scale = max(float(np.abs(values).max()) for values in expected)
    allowed = tolerance if tolerance is not None else TOLERANCE if dtype == "float32" else HALF_TOLERANCE * scale
    worst = None
    for prompt, (ours, theirs) in enumerate(zip(given, expected, strict=True)):
        if ours.shape != theirs.shape:
            raise BuildError(
                f"{role}: the plan gives {list(ours.shape)} and the reference {list(theirs.shape)}: this checkpoint is "
                "not the one that the plan was built from"
            )
        with np.errstate(invalid="ignore"):
            gaps = np.abs(ours - theirs)
        gaps = np.where(np.isfinite(ours) & np.isfinite(theirs), gaps, np.inf)
        place = np.unravel_index(int(gaps.argmax()), gaps.shape)
        largest = float(gaps[place])
        if worst is None or largest > worst.largest:
            position = int(place[0]) if role != "pooled" else 0
            worst = Difference(
                role, largest, allowed, prompt, position, int(place[-1]), float(ours[place]), float(theirs[place])
            )
    assert worst is not None
    return worst


def _divergence(
    prompt: int, reference: Reference, ids: list[int], tokens: list[int], allowed: float,
    start: list[int] | None = None, never: Sequence[int] = (),
) -> Divergence | None:  # fmt: skip
    """The first greedy token that differs.

    One call decides: up to the first difference both have read the same tokens, so the reference's own greedy choice
    at each place is the largest of its logits over the plan's tokens.
    """
    if not tokens:
        return None
    if start is None:
        logits = reference.outputs([*ids, *tokens[:-1]])["logits"][len(ids) - 1 :]
    else:
        logits = reference.outputs(ids, [*start, *tokens[:-1]])["logits"][len(start) - 1 :].copy()
        logits[:, list(never)] = -np.inf
    for index, (token, row) in enumerate(zip(tokens, logits, strict=True)):
        best = int(row.argmax())
        if best != token:
            gap = float(row[best] - row[token])
            # Two logits that are nearer than twice the tolerance may change places within it.
            return Divergence(prompt, index, token, best, gap, gap <= 2 * allowed)
    return None


def _explain_not_finite(
    bound: BoundSpec, manifest: Manifest, folder: Path, texts: list[tuple[list[int], list[int] | None]]
) -> str:
    """Which tensor is the first that is not finite, when one of these texts is read in the plan's dtype."""
    for dtype in dict.fromkeys(("float32", manifest.dtype)):
        reference = TorchReference(bound, manifest, folder, dtype)
        name = next((found for text in texts if (found := reference.first_not_finite(*text)) is not None), None)
        if name is not None:
            advice = "the checkpoint is at fault" if dtype == "float32" else "build with --dtype float32"
            return f"{name} is the first tensor that is not finite in {dtype}; {advice}"
    return f"torch stays finite in {manifest.dtype}, so the overflow is inside one of the plan's operators"
