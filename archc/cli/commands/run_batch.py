"""`archc run --batch`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from archc.cli.commands.generation_options import check_sampling, set_length
from archc.cli.console import UsageError, note, progress_bar

SLOTS = 8


def run_batch(
    plan: Path,
    batch: Path,
    out: Path | None,
    slots: int | None,
    threads: int | None,
    options: dict[str, Any],
    drafts: Mapping[str, Any],
) -> None:
    """Compute the requests of a file, with `slots` of them at a time; `drafts` are the keywords of a draft plan.

    Raises Exit with code 1 if one of them failed.
    """
    if options.get("num_beams", 1) > 1:
        raise UsageError("--num-beams is not supported with --batch; remove it")
    if out is not None and out.exists() and batch.exists() and out.samefile(batch):
        raise UsageError(f"{out}: is the file of requests too; name another file with -o")

    from archc.cli.batch.lines import count_lines
    from archc.cli.batch.output import Output
    from archc.cli.batch.runner import Batch
    from archc.runtime.serving.service import Service, ServiceOptions

    count_lines(batch)  # an error of the path comes before the plan is loaded
    slots = slots or SLOTS
    service = Service(plan, ServiceOptions(slots=slots, queue=2 * slots, threads=threads, **drafts))
    try:
        if service.scheduler is None:
            raise UsageError(f"--batch has no effect, because {service.manifest.family} is an encoder; remove it")
        check_sampling(service.manifest, options)
        set_length(service.manifest, options)
        with Output(out) as output, progress_bar() as progress:
            work = Batch(service, output, options)
            work.run(batch, progress)
    finally:
        service.close()
    if work.failed:
        note(f"{work.failed} requests failed; their records have the reason in the field error")
        raise typer.Exit(1)
