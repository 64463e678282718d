"""`archc draw`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archc.cli.commands.options import IgnoreConfig, Set
from archc.cli.completion import size_names, spec_names
from archc.cli.console import UsageError, note

_MODEL = "Spec, plan, checkpoint folder or ONNX folder."


def draw_command(
    model: Annotated[
        str,
        typer.Argument(metavar="SPEC|PLAN|DIR", help=_MODEL, show_default=False, autocompletion=spec_names),
    ],
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="[B]", help="Second model, which is drawn next to the first.", autocompletion=spec_names
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="File that ends in .svg, .html or .md; - for SVG on stdout. Default: named after the model, .svg.",
        ),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            "--size",
            metavar="NAME",
            help="Named size of the spec; with two models, of both or of each.",
            autocompletion=size_names,
        ),
    ] = None,
    overrides: Set = None,
    ignore_config: IgnoreConfig = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Draw the architecture of a model.

    Draws each kind of layer once, with its norms, residual connections and sizes; a strip with the kind of every layer;
    parameters by part; and cache and multiply-adds by length. A spec without default sizes is drawn at its first named
    size. Of two models, differences are colored and listed. An .svg or .html file has no scripts and adapts to dark
    mode; an .md file has a Mermaid flowchart.
    """
    from archc.cli.draw.output import check_output, render
    from archc.cli.draw.subject import read_subject

    names = [model] if other is None else [model, other]
    if sizes is not None and len(sizes) > len(names):
        raise UsageError(f"--size is set {len(sizes)} times; expected it once for each model, or once")
    check_output(out, force)
    each = [sizes[min(index, len(sizes) - 1)] if sizes else None for index in range(len(names))]
    pairs = zip(names, each, strict=True)
    subjects = [read_subject(name, size, overrides or [], ignore_config or []) for name, size in pairs]
    to_stdout = out is not None and str(out) == "-"
    path = out if out is not None else Path("-".join(subject.stem for subject in subjects) + ".svg")
    if out is None:
        check_output(path, force)
    text = render(subjects, ".svg" if to_stdout else path.suffix)
    if to_stdout:
        typer.echo(text, nl=False)
    else:
        path.write_text(text, "utf-8")
        note(f"wrote {path}")
