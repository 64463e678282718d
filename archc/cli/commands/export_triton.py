"""`archc export-triton`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archc.cli.commands.options import Plan, Threads


def export_triton_command(
    plan: Plan,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="DIR", help="Model repository; the model is a new folder in it."),
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the model. Default: that of the file.")
    ] = None,
    slots: Annotated[int, typer.Option("--slots", min=1, max=1024, metavar="N", help="Answers at a time.")] = 8,
    queue: Annotated[
        int, typer.Option("--queue", min=0, metavar="N", help="Answers that wait; more are refused.")
    ] = 64,
    threads: Threads = None,
) -> None:
    """Write a model repository of Triton Inference Server with the plan.

    Its Python backend streams text and token ids (docs/deploy.md). Prints the folder of the model.
    """
    from archc.serve.triton.export import export_triton

    print(export_triton(plan, out, name or plan.stem, slots, queue, threads))
