"""`archc eval`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from archc.cli.commands.options import Json, Plan, Threads
from archc.cli.console import UsageError, columns, progress_bar, write_json


def eval_command(
    plan: Plan,
    text: Annotated[
        Path | None, typer.Option("--perplexity", metavar="FILE", help="Perplexity of a UTF-8 text file.")
    ] = None,
    window: Annotated[
        int | None,
        typer.Option("--window", min=2, metavar="N", help="Tokens of a window. Default: the plan's maximum."),
    ] = None,
    stride: Annotated[
        int | None, typer.Option("--stride", min=1, metavar="N", help="Tokens between windows. Default: half a window.")
    ] = None,
    tasks: Annotated[str | None, typer.Option("--tasks", metavar="A,B", help="Tasks of lm-evaluation-harness.")] = None,
    include: Annotated[
        Path | None,
        typer.Option("--include", metavar="DIR", help="Folder of more tasks. Their files may run Python: trust them."),
    ] = None,
    shots: Annotated[
        int | None, typer.Option("--shots", min=0, metavar="N", help="Examples before a question.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Questions of each task.")] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, max=1024, metavar="N", help="Sequences at a time.")] = 8,
    new_tokens: Annotated[
        int | None, typer.Option("--new-tokens", min=1, metavar="N", help="Most new tokens of an answer.")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Write questions with the chat template.")] = False,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Evaluate a plan: perplexity of a text, or tasks of lm-evaluation-harness.

    Tasks require the `eval` extra, and their data: a hub that can be reached, or local files.
    """
    if (text is None) == (tasks is None):
        raise UsageError("expected either --perplexity FILE or --tasks A,B")
    options: list[tuple[str, object, bool]] = [
        ("--window", window, text is None),
        ("--stride", stride, text is None),
        ("--include", include, tasks is None),
        ("--shots", shots, tasks is None),
        ("--limit", limit, tasks is None),
        ("--new-tokens", new_tokens, tasks is None),
        ("--chat", chat or None, tasks is None),
    ]
    for name, value, is_unused in options:
        if value is not None and is_unused:
            raise UsageError(f"{name} has no effect without {'--perplexity' if text is None else '--tasks'}; remove it")

    from archc.runtime.engine import load

    result: dict[str, Any]
    with progress_bar() as progress:
        if text is not None:
            from archc.evaluation.perplexity import perplexity

            content = _read(text)
            result = asdict(perplexity(load(plan, threads), content, window, stride))
        else:
            from archc.evaluation.harness import PlanModel, evaluate

            names = [name.strip() for name in (tasks or "").split(",") if name.strip()]
            if not names:
                raise UsageError("--tasks is empty; expected names, for example --tasks hellaswag,arc_easy")
            model = PlanModel(load(plan, threads), batch, progress)
            result = evaluate(model, names, include, shots, limit, new_tokens, chat)
    if as_json:
        write_json(result)
    elif text is not None:
        print(
            f"perplexity {result['perplexity']:.4f}, {result['bits_per_byte']:.4f} bits a byte; "
            f"{result['tokens']:,} tokens, window {result['window']}, stride {result['stride']}"
        )
    else:
        rows = [
            (task, *name.split(",", 1), f"{value:.4f}")
            for task, values in result.items()
            for name, value in values.items()
            if isinstance(value, float) and "," in name and "_stderr" not in name
        ]
        print("\n".join(columns(("task", "metric", "filter", "value"), rows, right=(3,))))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not valid UTF-8 at byte {error.start}; convert the file") from None
