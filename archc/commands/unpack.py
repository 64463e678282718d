"""`archc unpack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archc.commands.options import Plan


def unpack(
    plan: Plan,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="DIR", help="Where to; made where it is not there.", show_default=False),
    ],
) -> None:
    """Check every entry's SHA-256 and write the entries of a plan as files; print their names."""
    from runtime.plan import Plan as PlanFile

    with PlanFile(plan) as opened:
        for path in sorted(opened.unpack(out)):
            print(path)
