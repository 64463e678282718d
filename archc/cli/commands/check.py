"""`archc check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archc.cli.commands.options import IgnoreConfig, Set
from archc.cli.completion import spec_names
from archc.cli.console import UsageError, write_error

if TYPE_CHECKING:
    from archc.archspec import BoundSpec


def check_command(
    specs: Annotated[
        list[str],
        typer.Argument(
            metavar="SPEC|DIR...",
            help="Names of shipped specs, YAML files, or checkpoint folders.",
            show_default=False,
            autocompletion=spec_names,
        ),
    ],
    overrides: Set = None,
    ignore_config: IgnoreConfig = None,
) -> None:
    """Check specs for mistakes.

    Loads each spec, binds it at every size, and checks that its weight table names every tensor. Prints `ok` and a
    summary, or every problem. The spec of a checkpoint folder is bound to its config.json.
    """
    from archc.archspec import ArchspecError
    from archc.compiler.errors import BuildError

    failed = False
    for spec in specs:
        try:
            lines = _check(spec, overrides or [], ignore_config or [])
        except (ArchspecError, BuildError, UsageError) as error:
            write_error(str(error))
            failed = True
        else:
            print("\n".join(lines))
    if failed:
        raise typer.Exit(2)


def _check(name: str, overrides: list[str], ignore_config: list[str]) -> list[str]:
    from archc.archspec import load_spec
    from archc.cli.inspect.binding import required_names
    from archc.compiler.weights.checkpoint.folder import is_checkpoint

    if is_checkpoint(name):
        return _check_folder(name, overrides, ignore_config)
    if ignore_config:
        raise UsageError("--ignore-config has no effect without a checkpoint's config.json; remove it")
    spec = load_spec(name, overrides)
    required = required_names(spec)
    sizes = [] if required else [("default size", spec.bind())]
    sizes += [(f"size {size}", spec.bind(size=size)) for size in spec.sizes]
    lines = [f"ok: {spec.family} ({spec.file})"]
    lines += [f"  {size}: {_summarize(bound, name)}" for size, bound in sizes]
    if not sizes:
        lines.append(f"  no sizes; a checkpoint's config must set {', '.join(required)}")
    return lines


def _check_folder(name: str, overrides: list[str], ignore_config: list[str]) -> list[str]:
    from archc.compiler.build import bind
    from archc.compiler.weights.checkpoint.containers import has_config, read_checkpoint_config
    from archc.compiler.weights.checkpoint.folder import local_source

    source = local_source(Path(name))
    checkpoint = source.folder
    bound = bind(checkpoint, read_checkpoint_config(checkpoint), None, overrides, ignore_config, source)
    return [
        f"ok: {bound.family} ({name})",
        f"  {'config.json' if has_config(checkpoint) else 'shapes of the tensors'}: {_summarize(bound, name)}",
    ]


def _summarize(bound: BoundSpec, name: str) -> str:
    """Return a bound spec's counts. Raises UsageError if its weight table lacks an entry."""
    from archc.cli.inspect.binding import missing_entries
    from archc.compiler.structure.model import structure

    parts = structure(bound)
    names = [name for name, _ in parts.slots()]
    table = "no weight table (builds with --random only)"
    if bound.weights.entries:
        if missing := missing_entries(bound, names):
            raise UsageError("\n".join(f"{name}: weights: no entry for '{slot}'; add one" for slot in missing))
        table = "each with an entry in the weight table"
    return f"{len(bound.layers)} layers, {parts.parameters:,} parameters in {len(names)} tensors, {table}"
