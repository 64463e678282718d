"""`archc verify`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from archc.cli.commands.options import Json, Plan, Threads, check_text, parse_ids
from archc.cli.console import UsageError, progress_bar, warn, write_json

if TYPE_CHECKING:
    from archc.runtime import Engine
    from archc.verify import Difference, Divergence, Report

NEW_TOKENS = 16


def verify(
    plan: Plan,
    weights: Annotated[
        str,
        typer.Option("--weights", metavar="DIR", help="The plan's own checkpoint.", show_default=False),
    ],
    prompts: Annotated[
        list[str] | None, typer.Option("--prompt", metavar="TEXT", help="A prompt to compare on. Repeatable.")
    ] = None,
    ids: Annotated[
        list[str] | None, typer.Option("--ids", metavar="1,2,3", help="A prompt as token ids. Repeatable.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance", metavar="X",
            help="Largest difference; by default 1e-4, and for other dtypes than float32 2% of the largest number.",
        ),
    ] = None,
    new_tokens: Annotated[
        int | None,
        typer.Option("--new-tokens", min=1, metavar="N", help=f"Greedy tokens to compare; by default {NEW_TOKENS}."),
    ] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Compare a plan with a reference.

    Exits 1 where the plan differs by more than the tolerance. The reference is the transformers class that the
    checkpoint's config.json names, in float32, or else archc's own torch graph; the first line says which. All
    prompts go through the plan as one ragged batch, and through the reference one by one. A greedy token may differ
    only where the two best logits are a tie within the tolerance.
    """
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise UsageError(f"--tolerance {tolerance}: give a number of at least 0")
    rows = [parse_ids(text) for text in ids or ()]
    texts = [check_text(text, "--prompt") for text in prompts or ()]

    from archc.runtime.engine import load

    engine = load(plan, threads)
    if new_tokens is not None and engine.manifest.topology == "encoder":
        raise UsageError(f"{engine.manifest.family} is an encoder and writes no tokens: --new-tokens has no effect")
    rows += _encode(engine, texts)
    from archc.verify import verify as compare

    with progress_bar() as progress:
        report = compare(engine, weights, rows, tolerance, new_tokens or NEW_TOKENS, progress)
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
        raise UsageError("this plan has no tokenizer, so it takes no text: give prompts with --ids")
    return [engine.tokenizer.encode(text) for text in texts] if engine.tokenizer is not None else []


def _as_json(report: Report) -> dict[str, object]:
    return {
        "ok": report.ok,
        "reference": report.reference,
        "notes": list(report.notes),
        "prompts": [list(row) for row in report.prompts],
        "differences": [{**asdict(item), "ok": item.ok} for item in report.differences],
        "new_tokens": report.new_tokens,
        "divergences": [asdict(item) for item in report.divergences],
        "not_finite": report.not_finite,
    }


def _lines(report: Report) -> list[str]:
    lengths = ", ".join(str(len(row)) for row in report.prompts)
    lines = [f"reference: {report.reference}", f"prompts: {len(report.prompts)}, of {lengths} tokens"]
    lines += map(_difference, report.differences)
    if report.not_finite is not None:
        lines.append(f"not finite: {report.not_finite}")
    elif report.new_tokens:
        lines += map(_divergence, report.divergences)
        if not report.divergences:
            lines.append(f"greedy: {report.new_tokens} new tokens of each prompt are the reference's")
    lines.append("ok" if report.ok else "FAILED")
    return lines


def _difference(item: Difference) -> str:
    place = f"prompt {item.prompt}" + ("" if item.output == "pooled" else f", position {item.position}")
    return (
        f"{item.output}: largest difference {item.largest:.3g} ({'within' if item.ok else 'past'} {item.allowed:.3g}), "
        f"at {place}, index {item.index}: {item.plan:.6g} against {item.reference:.6g}"
    )


def _divergence(item: Divergence) -> str:
    kind = "a tie within the tolerance" if item.is_tie else "not a tie"
    return (
        f"greedy: prompt {item.prompt} differs first at new token {item.token}: {item.plan} against {item.reference}, "
        f"whose logits are {item.gap:.3g} apart, {kind}"
    )
