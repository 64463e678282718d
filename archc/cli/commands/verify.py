"""`archc verify`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from archc.cli.commands.options import Adapters, IgnoreConfig, Json, PlanOrFolder, Threads, check_text, parse_ids
from archc.cli.console import UsageError, progress_bar, warn, write_json

if TYPE_CHECKING:
    from archc.runtime import Engine
    from archc.verify.report import Difference, Divergence, Report, WeightCheck

NEW_TOKENS = 16


def verify_command(
    plan: PlanOrFolder,
    weights: Annotated[
        str,
        typer.Option("--weights", metavar="DIR", help="Checkpoint that the plan was built from.", show_default=False),
    ],
    prompts: Annotated[
        list[str] | None, typer.Option("--prompt", metavar="TEXT", help="Prompt to compare on. Repeatable.")
    ] = None,
    ids: Annotated[
        list[str] | None, typer.Option("--ids", metavar="1,2,3", help="Prompt as token ids. Repeatable.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            metavar="X",
            help="Maximum absolute difference. Default: 1e-4 (float32), 2% of the largest reference value (float16, "
            "bfloat16), or relative limits that the output states (quantized).",
        ),
    ] = None,
    new_tokens: Annotated[
        int | None,
        typer.Option("--new-tokens", min=1, metavar="N", help=f"Greedy tokens to compare. Default: {NEW_TOKENS}."),
    ] = None,
    ignore_config: IgnoreConfig = None,
    adapters: Adapters = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Compare a plan with a reference.

    Exits 1 if the plan differs by more than the tolerance. The reference is the transformers class that the
    checkpoint's config.json names, in float32, or else archc's own torch graph; the first line says which. For a
    quantized plan, it is archc's torch graph with the plan's own weights, dequantized; that graph is compared with
    transformers, and every stored weight with the checkpoint. All prompts go through the plan as one ragged batch, and
    through the reference one by one. A greedy token may differ only where the two best logits are a tie.
    """
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise UsageError(f"--tolerance {tolerance}: expected a number of at least 0")
    rows = [parse_ids(text) for text in ids or ()]
    texts = [check_text(text, "--prompt") for text in prompts or ()]

    from archc.runtime.engine import load

    engine = load(plan, threads)
    if new_tokens is not None and engine.manifest.topology == "encoder":
        raise UsageError(f"--new-tokens has no effect, because {engine.manifest.family} is an encoder; remove it")
    rows += _encode(engine, texts)
    from archc.verify.compare import verify

    with progress_bar() as progress:
        report = verify(
            engine,
            weights,
            rows,
            tolerance,
            new_tokens or NEW_TOKENS,
            progress,
            ignore_config=ignore_config or (),
            adapters=adapters or (),
        )
    for text in report.notes:
        warn(text)
    if as_json:
        write_json(_as_json(report))
    else:
        print("\n".join(_lines(report)))
    if not report.ok:
        raise typer.Exit(1)


def _encode(engine: Engine, texts: list[str]) -> list[list[int]]:
    if texts and engine.tokenizer is None:
        raise UsageError("this plan has no tokenizer, so it cannot read text; pass prompts with --ids")
    return [engine.tokenizer.encode(text) for text in texts] if engine.tokenizer is not None else []


def _as_json(report: Report) -> dict[str, object]:
    return {
        "ok": report.ok,
        "reference": report.reference,
        "tolerance": report.tolerance,
        "notes": list(report.notes),
        "weights": {**asdict(report.weights), "ok": report.weights.ok} if report.weights is not None else None,
        "graph_reference": report.graph_reference,
        "graph_differences": [{**asdict(item), "ok": item.ok} for item in report.graph],
        "prompts": [list(row) for row in report.prompts],
        "differences": [{**asdict(item), "ok": item.ok} for item in report.differences],
        "new_tokens": report.new_tokens,
        "divergences": [asdict(item) for item in report.divergences],
        "not_finite": report.not_finite,
    }


def _lines(report: Report) -> list[str]:
    lengths = ", ".join(str(len(row)) for row in report.prompts)
    lines = [f"reference: {report.reference}", f"tolerance: {report.tolerance}"]
    lines.append(f"prompts: {len(report.prompts)}, of {lengths} tokens")
    lines += [f"torch graph against {report.graph_reference}: {_difference(item)}" for item in report.graph]
    lines += [_weights(report.weights)] if report.weights is not None else []
    lines += map(_difference, report.differences)
    if report.not_finite is not None:
        lines.append(f"not finite: {report.not_finite}")
    elif report.new_tokens:
        lines += map(_divergence, report.divergences)
        if not report.divergences:
            lines.append(f"greedy: {report.new_tokens} new tokens of each prompt equal the reference's")
    lines.append("ok" if report.ok else "FAILED")
    return lines


def _weights(item: WeightCheck) -> str:
    others = "equal" if item.unequal is None else f"{item.unequal} differs"
    return (
        f"weights: {item.matrices} quantized, largest error {item.largest:.3g} of a quantization step "
        f"({_limit(item.largest, item.allowed)}), in {item.tensor}; {item.others} others: {others}"
    )


def _difference(item: Difference) -> str:
    place = f"prompt {item.prompt}" + ("" if item.output in ("pooled", "classes") else f", position {item.position}")
    rms = f", root mean square {item.rms:.2%} ({_limit(item.rms, item.rms_allowed, '.0%')})" if item.rms_allowed else ""
    return (
        f"{item.output}: largest difference {item.largest:.3g} ({_limit(item.largest, item.allowed)}){rms}, "
        f"at {place}, index {item.index}: {item.plan:.6g} against {item.reference:.6g}"
    )


def _limit(value: float, allowed: float | None, form: str = ".3g") -> str:
    return "" if allowed is None else f"{'within' if value <= allowed else 'past'} {allowed:{form}}"


def _divergence(item: Divergence) -> str:
    kind = "a tie within the tolerance" if item.is_tie else "not a tie"
    return (
        f"greedy: prompt {item.prompt} differs first at new token {item.token}: {item.plan} against {item.reference}, "
        f"whose logits are {item.gap:.3g} apart, {kind}"
    )
