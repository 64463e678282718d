"""`archc check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from archc.cli.commands.options import Set
from archc.cli.console import UsageError, write_error

if TYPE_CHECKING:
    from archc.archspec import BoundSpec


def check(
    specs: Annotated[
        list[str],
        typer.Argument(metavar="SPEC...", help="Names of shipped specs, or YAML files.", show_default=False),
    ],
    overrides: Set = None,
) -> None:
    """Check specs for mistakes.

    Each must load, bind at every size, and say where a checkpoint has each tensor. Prints `ok` and what was
    checked, or every problem that there is.
    """
    from archc.archspec import ArchspecError

    faulty = False
    for spec in specs:
        try:
            lines = _check(spec, overrides or [])
        except (ArchspecError, UsageError) as error:
            write_error(str(error))
            faulty = True
        else:
            print("\n".join(lines))
    if faulty:
        raise typer.Exit(2)


def _check(name: str, overrides: list[str]) -> list[str]:
    from archc.archspec import load_spec
    from archc.models import required_names

    spec = load_spec(name, overrides)
    required = required_names(spec)
    ways = [] if required else [("by its defaults", spec.bind())]
    ways += [(f"size {size}", spec.bind(size=size)) for size in spec.sizes]
    lines = [f"ok: {spec.family} ({spec.file})"]
    lines += [f"  {way}: {_measure(bound, name)}" for way, bound in ways]
    if not ways:
        lines.append(f"  loads; it has no sizes, so a checkpoint's config has to give {', '.join(required)}")
    return lines


def _measure(bound: BoundSpec, name: str) -> str:
    """What a bound spec amounts to. Raises UsageError where its weight table lacks an entry."""
    from archc.compiler.modules.cost import parameter_count
    from archc.compiler.modules.model import meta_model
    from archc.compiler.weights.slots import slot_shapes
    from archc.models import missing_entries

    model = meta_model(bound)
    names = list(slot_shapes(model))
    table = "no weight table, so it builds with --random only"
    if bound.weights.entries:
        if missing := missing_entries(bound, names):
            raise UsageError("\n".join(f"{name}: weights: no entry for '{slot}'" for slot in missing))
        table = "each with an entry in the weight table"
    return f"{len(bound.layers)} layers, {parameter_count(model):,} parameters in {len(names)} tensors, {table}"
