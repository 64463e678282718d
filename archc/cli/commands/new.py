"""`archc new`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archc.cli.completion import spec_names
from archc.cli.console import UsageError, note, write_text


def new_command(
    model: Annotated[
        str,
        typer.Argument(metavar="CONFIG|DIR|ID", help="config.json, checkpoint folder or hub id.", show_default=False),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="YAML file to write. Default: stdout.")
    ] = None,
    extends: Annotated[
        str | None,
        typer.Option(
            "--extends",
            metavar="SPEC",
            help="Shipped spec to extend. Default: the nearest one.",
            autocompletion=spec_names,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Draft the spec of a model.

    Writes a spec that extends the nearest shipped one, by the keys and values of the config and, of a folder with
    weights, by the names of the tensors. Comments list the keys and tensors that it does not explain, with proposals.
    """
    from archc.authoring.draft import slug, write_draft
    from archc.authoring.nearest import find_nearest, load_shipped
    from archc.authoring.subject import read_subject

    if out is not None and out.suffix not in (".yaml", ".yml"):
        raise UsageError(f"-o {out}: expected a name that ends in .yaml")
    if out is not None and out.exists() and not force:
        raise UsageError(f"{out}: the file exists; choose another name, or replace it with --force")
    subject = read_subject(model)
    specs = load_shipped()
    if extends is not None and extends not in specs:
        raise UsageError(f"--extends {extends}: no such shipped spec; archc list prints them")
    fit = find_nearest(subject, specs if extends is None else {extends: specs[extends]})
    family = slug(out.stem if out is not None else subject.model_type) or "my-model"
    draft = write_draft(family, subject, fit, specs)
    if out is None:
        write_text(draft.text)
    else:
        out.write_text(draft.text, "utf-8")
        note(f"{out}: next, archc check {out}, then archc prove {out}")
    counts = (
        ("unread keys", len(fit.unread)),
        ("missing keys", len(fit.missing)),
        ("unread tensors by pattern", len(fit.tensors)),
        ("unfilled slots by name", len(fit.unfilled)),
        ("faults", len(fit.faults) + len(subject.faults) + len(draft.faults)),
    )
    explained = "every key and tensor is read" if subject.folder is not None else "every key is read"
    note(f"extends {fit.name}: " + (", ".join(f"{text}: {n}" for text, n in counts if n) or explained))
