"""The comparison of a plan with a reference, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archc.archspec import BoundSpec
from archc.archspec.vocabulary import DynamicScaling, LongRopeScaling
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.adapters import AdapterOption
from archc.compiler.weights.checkpoint.folder import find_checkpoint
from archc.plan import Manifest
from archc.runtime.engine import Engine
from archc.verify.choose import choose_reference
from archc.verify.differences import compare_output, find_divergence
from archc.verify.plan_outputs import plan_outputs, plan_tokens
from archc.verify.plan_spec import bind_plan
from archc.verify.prompts import Ids, answer_start, generate_answers, generate_prompts, pair_texts
from archc.verify.references import Floats, Reference
from archc.verify.report import Difference, Report, WeightCheck
from archc.verify.stored_weights import load_stored
from archc.verify.tolerance import EXACT, choose_tolerance
from archc.verify.torch_reference import TorchReference

NEW_TOKENS = 16
Progress = Callable[[str, int, int], None]
Outputs = list[dict[str, Floats]]
"""Outputs by role, for each prompt."""


def verify(
    engine: Engine,
    weights: str | Path,
    prompts: Sequence[Sequence[int]] = (),
    tolerance: float | None = None,
    new_tokens: int = NEW_TOKENS,
    progress: Progress = lambda name, done, total: None,
    ignore_config: Sequence[str] = (),
    adapters: Sequence[str | Path] = (),
) -> Report:
    """Compare a plan's outputs, and a decoder's greedy tokens, with a reference, on `prompts` or on generated ones.

    The plan gets all prompts as one ragged batch, the reference each alone. `tolerance` is the maximum absolute
    difference; the default depends on how the plan computes, see `tolerance.choose_tolerance`. A quantized plan is
    compared with archc's torch graph with the plan's own weights, dequantized; that graph is compared with the float
    reference, and the stored weights with the checkpoint's. `ignore_config` and `adapters` are those of the build.
    Raises ArchspecError or BuildError for a checkpoint of another model, PromptError for ids that do not fit.
    """
    manifest = engine.manifest
    folder = find_checkpoint(weights)
    merged = [AdapterOption.parse(adapter) for adapter in adapters]
    bound = bind_plan(manifest, str(engine.plan.path))
    rows = [list(row) for row in prompts] or generate_prompts(manifest, new_tokens)
    answers = generate_answers(manifest, len(rows))
    steps = 3 + 2 * len(rows)

    progress("plan", 0, steps)
    outputs = plan_outputs(engine, rows, answers)
    written, overflowed = plan_tokens(engine, rows, answers, new_tokens)

    progress("reference", 1, steps)
    baseline = _choose_baseline(engine, bound, folder, merged, rows, answers, list(outputs), ignore_config)
    reference, expected = baseline.reference, baseline.outputs
    roles = [role for role in outputs if all(role in values for values in expected)]
    if not roles:
        raise BuildError(f"{reference.name} has none of the plan's outputs, {', '.join(outputs)}")
    limits = choose_tolerance(manifest, tolerance, baseline.weights is not None)
    differences = [compare_output(role, outputs[role], [values[role] for values in expected], limits) for role in roles]

    tie = differences[0].allowed if limits.rms is None else 2 * differences[0].largest
    divergences = []
    scalings = [getattr(layer.position, "scaling", None) for layer in bound.layers]
    by_call = DynamicScaling if manifest.limits.reread_past is not None else (DynamicScaling, LongRopeScaling)
    in_steps = any(isinstance(scaling, by_call) for scaling in scalings)
    uncompared: list[str] = []
    if in_steps and isinstance(reference, TorchReference):
        uncompared.append(
            "greedy tokens are not compared: their rotation depends on calls, and the reference has no cache"
        )
        written = [[] for _ in written]
    for index, (ids, tokens) in enumerate(zip(rows, written, strict=True)):
        progress(f"tokens after prompt {index}", 2 + len(rows) + index, steps)
        start = answer_start(manifest, answers)
        found = find_divergence(
            index, reference, ids, tokens, tie, start, manifest.tokens.never, manifest.limits.reread_past, in_steps
        )
        if found is not None:
            divergences.append(found)

    not_finite = None
    broken = next((item.prompt for item in differences if not np.isfinite(item.largest)), None)
    if broken is not None or overflowed:
        progress("first value that is not finite", steps - 1, steps)
        texts = pair_texts(rows, answers, written) if broken is None else [pair_texts(rows, answers)[broken]]
        not_finite = _explain_not_finite(bound, manifest, folder, merged, texts)
    progress("", steps, steps)
    missing = [f"{role}: the reference has none, so it is not compared" for role in outputs if role not in roles]
    return Report(
        reference=reference.name,
        tolerance=limits.reason,
        notes=(*baseline.notes, *missing, *uncompared),
        prompts=tuple(tuple(row) for row in rows),
        differences=tuple(differences),
        divergences=tuple(divergences),
        new_tokens=new_tokens if manifest.topology != "encoder" and not uncompared else 0,
        not_finite=not_finite,
        weights=baseline.weights,
        graph=baseline.graph,
        graph_reference=baseline.graph_reference,
    )


@dataclass(frozen=True)
class _Baseline:
    """The reference and its outputs; for a quantized plan also the checks that lead to it."""

    reference: Reference
    outputs: Outputs
    notes: tuple[str, ...]
    weights: WeightCheck | None = None
    graph: tuple[Difference, ...] = ()
    graph_reference: str | None = None


def _choose_baseline(
    engine: Engine,
    bound: BoundSpec,
    folder: Path,
    adapters: Sequence[AdapterOption],
    rows: list[Ids],
    answers: list[Ids],
    roles: list[str],
    ignore_config: Sequence[str],
) -> _Baseline:
    """Return the reference for a plan: for a quantized one, the torch graph with the plan's dequantized weights."""
    manifest = engine.manifest
    reference, notes = choose_reference(bound, manifest, folder, ignore_config, adapters)
    if "adapters" in manifest.builder and not adapters:
        notes.append(
            f"the plan was built with adapters ({manifest.builder['adapters']}); compare with --adapter to merge them"
        )
    expected = _run(reference, rows, answers)
    if manifest.quantization is None:
        return _Baseline(reference, expected, tuple(notes))
    graph: list[Difference] = []
    source = None
    own = reference if isinstance(reference, TorchReference) else None
    if own is None:
        source = reference.name
        del reference  # one model in memory at a time
        own = TorchReference(bound, manifest, folder, "float32", adapters)
        values = _run(own, rows, answers)
        for role in roles:
            if all(role in outputs for outputs in (*values, *expected)):
                pair = [outputs[role] for outputs in values], [outputs[role] for outputs in expected]
                graph.append(compare_output(role, *pair, EXACT))
    weights = load_stored(engine.plan, own.slots())
    if weights is None:
        notes.append("the plan's weights are stored in a form that is unknown here, so they are not dequantized")
    else:
        own.name = f"{own.name}, with the plan's {manifest.quantization} weights dequantized"
    return _Baseline(own, _run(own, rows, answers), tuple(notes), weights, tuple(graph), source)


def _run(reference: Reference, rows: list[Ids], answers: list[Ids]) -> Outputs:
    return [reference.outputs(ids, answers[index] if answers else None) for index, ids in enumerate(rows)]


def _explain_not_finite(
    bound: BoundSpec,
    manifest: Manifest,
    folder: Path,
    adapters: Sequence[AdapterOption],
    texts: list[tuple[Ids, Ids | None]],
) -> str:
    """Return the first tensor that is not finite when archc's torch graph reads the texts in the plan's dtype."""
    for dtype in dict.fromkeys(("float32", manifest.dtype)):
        reference = TorchReference(bound, manifest, folder, dtype, adapters)
        name = next((found for text in texts if (found := reference.first_not_finite(*text)) is not None), None)
        if name is not None:
            advice = "check the checkpoint" if dtype == "float32" else "build with --dtype float32"
            return f"{name} is the first tensor that is not finite in {dtype}; {advice}"
    return f"torch stays finite in {manifest.dtype}, so an operator of the plan overflows"
