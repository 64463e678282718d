"""Pages of the Python API, from docstrings by mkdocstrings, and of the command line, from its parser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click
import typer

from archc.cli.parser import app
from website.tables import table, text

_API: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "api/archc.md": (
        "archc",
        ("archc.compiler.build.build", "archc.runtime.engine.load", "archc.runtime.engine.Engine", "archc.error.Error"),
    ),
    "api/specs.md": (
        "archc.archspec",
        (
            "archc.archspec.loading.load_spec",
            "archc.archspec.loading.load_spec_text",
            "archc.archspec.binding.spec.Spec",
            "archc.archspec.binding.bound_spec.BoundSpec",
            "archc.archspec.detection.detect_spec",
            "archc.archspec.source.catalog.list_specs",
            "archc.archspec.docs.json_schema.json_schema",
            "archc.archspec.errors.SpecError",
            "archc.archspec.errors.Problem",
        ),
    ),
    "api/plan.md": (
        "archc.plan",
        ("archc.plan.reader.Plan", "archc.plan.manifest.Manifest", "archc.plan.manifest.Limits"),
    ),
}
"""Title and objects of each page of the API."""


def reference_pages() -> dict[str, str]:
    """Return the pages by their place on the site."""
    pages = {place: _api(title, names) for place, (title, names) in _API.items()}
    return pages | {"cli.md": "\n".join(_commands())}


def _api(title: str, names: tuple[str, ...]) -> str:
    blocks = "\n\n".join(f"::: {name}" for name in names)
    return f"# {title}\n\n{blocks}\n"


def _commands() -> Iterator[str]:
    group = typer.main.get_command(app)
    yield f"# Commands\n\n{text(group.help or '')}\n\n{text(group.epilog or '')}\n"
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        yield from _command(name, command)


def _command(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=f"archc {name}")
    summary, _, rest = (command.help or "").partition("\n\n")
    yield f"## {name}\n\n{_paragraph(summary)}\n\n    {' '.join(command.get_usage(context).split()[1:])}\n"
    if rest:
        yield "\n\n".join(map(_paragraph, rest.split("\n\n"))) + "\n"
    records = [record for each in command.get_params(context) if (record := each.get_help_record(context))]
    rows = [(f"`{names}`", _paragraph(meaning)) for names, meaning in records]
    yield table(("option", "meaning"), rows)


def _paragraph(lines: str) -> str:
    return text(" ".join(lines.split()))
