"""`archc list` and `archc schema`."""

from __future__ import annotations

from typing import Annotated

import typer

from archc.cli.commands.options import Json
from archc.cli.console import columns, warn, write_json


def list_command(
    targets: Annotated[bool, typer.Option("--targets", help="List the targets instead.")] = False,
    as_json: Json = False,
) -> None:
    """List the shipped specs and their sizes, or the targets."""
    if targets:
        _list_targets(as_json)
        return
    from archc import archspec

    listed = archspec.list_specs()
    for entry in listed:
        if entry.problems:  # a faulty spec does not hide the others
            warn(f"{entry.problems[0]} (see archc check {entry.name})")
    if as_json:
        specs = [
            {"name": entry.name, "description": entry.description, "sizes": entry.sizes, "path": str(entry.path)}
            | ({"error": str(entry.problems[0])} if entry.problems else {})
            for entry in listed
        ]
        write_json({"specs": specs})
        return
    rows = [(entry.name, _clip(entry.description, 52), _clip(", ".join(entry.sizes), 20)) for entry in listed]
    print("\n".join(columns(("SPEC", "DESCRIPTION", "SIZES"), rows)))


def _clip(text: str, width: int) -> str:
    """Return a text of at most `width` characters; --json has the whole one."""
    return text if len(text) <= width else f"{text[: width - 1].rstrip(' ,;')}…"


def _list_targets(as_json: bool) -> None:
    from archc.compiler.targets import TARGETS

    if as_json:
        listed = [
            {
                "name": target.name,
                "description": target.description,
                "dtypes": list(target.dtypes),
                "quantizations": list(target.quantizations),
                "engine": target.engine,
                "folder": target.folder,
            }
            for target in TARGETS.values()
        ]
        write_json({"targets": listed})
        return
    rows = [
        (target.name, target.description, ", ".join(target.dtypes), ", ".join(target.quantizations) or "none")
        for target in TARGETS.values()
    ]
    print("\n".join(columns(("TARGET", "DESCRIPTION", "DTYPES", "QUANTIZE"), rows)))
    print("\nEvery shipped spec builds for every target; see docs/targets.md and docs/runtimes.md.")


def schema_command() -> None:
    """Print the JSON Schema of spec files."""
    from archc import archspec

    write_json(archspec.json_schema(), indent=2)
