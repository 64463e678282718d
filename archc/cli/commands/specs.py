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

    listed = []
    faults: dict[str, str] = {}
    for entry in archspec.list_specs():
        try:
            listed.append((entry, list(archspec.load_spec(entry.name).sizes)))
        except archspec.ArchspecError as error:
            # A faulty spec does not hide the others.
            faults[entry.name] = str(error.problems[0])
            warn(f"{error.problems[0]} (see archc check {entry.name})")
            listed.append((entry, []))
    if as_json:
        specs = [
            {"name": entry.name, "description": entry.description, "sizes": sizes, "path": str(entry.path)}
            | ({"error": faults[entry.name]} if entry.name in faults else {})
            for entry, sizes in listed
        ]
        write_json({"specs": specs})
        return
    rows = [(entry.name, entry.description, ", ".join(sizes)) for entry, sizes in listed]
    print("\n".join(columns(("SPEC", "DESCRIPTION", "SIZES"), rows)))


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
    print("\nEvery shipped spec builds for every target; see docs/targets.md.")


def schema_command() -> None:
    """Print the JSON Schema of spec files."""
    from archc import archspec

    write_json(archspec.json_schema(), indent=2)
