"""`archc unpack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archc.cli.commands.options import Plan


def unpack_command(
    plan: Plan,
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            metavar="DIR",
            help="Output folder: new, empty, or written by archc, and then replaced.",
            show_default=False,
        ),
    ],
) -> None:
    """Write the entries of a plan as files into a folder.

    Checks every SHA-256 first, and prints the paths of the files.
    """
    from archc.plan import Plan as PlanFile

    with PlanFile(plan) as opened:
        for path in sorted(opened.unpack(out)):
            print(path)
