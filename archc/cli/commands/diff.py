"""`archc diff`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archc.cli.commands.options import Json
from archc.cli.completion import spec_names
from archc.cli.console import write_json

if TYPE_CHECKING:
    from rich.console import Console

    from archc.authoring.difference import Change
    from archc.authoring.trees import Trees

_SIDE = "Name of a shipped spec, YAML file, or checkpoint."
_TITLES = {
    "computation": "Computation",
    "config": "Keys of config.json",
    "weights": "Weight table",
    "checkpoint": "Checkpoint",
}


def diff_command(
    a: Annotated[str, typer.Argument(metavar="A", help=_SIDE, show_default=False, autocompletion=spec_names)],
    b: Annotated[str, typer.Argument(metavar="B", help=_SIDE, show_default=False, autocompletion=spec_names)],
    as_json: Json = False,
) -> None:
    """Compare two specs, or a spec and a checkpoint.

    Prints each value of the vocabulary that differs, with its meaning, the keys of config.json, and the weight table. A
    spec against a checkpoint is bound to the checkpoint's config and compared with the spec that fits it; keys and
    tensors that the spec does not explain are differences, too. Exit code 0: equal, 1: different, 2: an error.
    """
    changes = _compare(a, b)
    if as_json:
        write_json({"equal": not changes, "a": a, "b": b, "differences": [asdict(change) for change in changes]})
    else:
        from rich.console import Console

        _print(Console(soft_wrap=True, highlight=False), a, b, changes)
    if changes:
        raise typer.Exit(1)


def _compare(a: str, b: str) -> list[Change]:
    from archc.archspec import load_spec
    from archc.authoring.difference import compare
    from archc.authoring.trees import spec_trees
    from archc.compiler.weights.checkpoint.folder import is_checkpoint

    if is_checkpoint(a) and is_checkpoint(b):
        return compare(_detected(a), _detected(b))
    if is_checkpoint(a) or is_checkpoint(b):
        return _compare_checkpoint(a, b)
    return compare(spec_trees(load_spec(a), a), spec_trees(load_spec(b), b))


def _detected(folder: str) -> Trees:
    """Return the trees of a checkpoint, whose spec is detected."""
    from pathlib import Path

    from archc.authoring.trees import bound_trees
    from archc.compiler.build import bind
    from archc.compiler.weights.checkpoint.containers import read_checkpoint_config
    from archc.compiler.weights.checkpoint.folder import local_source

    source = local_source(Path(folder))
    return bound_trees(bind(source.folder, read_checkpoint_config(source.folder), None, (), (), source), folder)


def _compare_checkpoint(a: str, b: str) -> list[Change]:
    """Return the differences of a spec and a checkpoint, whichever comes first."""
    from archc.archspec import ArchspecError, load_spec
    from archc.authoring.difference import Change, compare
    from archc.authoring.nearest import measure
    from archc.authoring.subject import read_subject
    from archc.authoring.trees import bound_trees
    from archc.compiler.weights.checkpoint.folder import is_checkpoint

    spec, folder = (b, a) if is_checkpoint(a) else (a, b)
    fit = measure(spec, load_spec(spec), read_subject(folder))
    changes: list[Change] = []

    def add(path: str, of_spec: Any, of_folder: Any, note: str) -> None:
        pair = (of_folder, of_spec) if spec == b else (of_spec, of_folder)
        changes.append(Change("checkpoint", path, *pair, note))

    for key, value in fit.unread.items():
        add(key, None, value, "key that the spec does not read")
    for name in fit.missing:
        add(name, "required", None, "key that the spec requires")
    for fault in fit.faults:
        add("config.json", None, None, fault)
    for item in fit.tensors:
        add(item.pattern, None, list(item.shape), f"{item.count} tensors that the spec does not read")
    for slot in fit.unfilled:
        add(slot, "required", None, "slot that no tensor fills")
    if fit.bound is None:
        return changes
    own = bound_trees(fit.bound, spec)
    try:
        other = _detected(folder)
    except ArchspecError as error:
        from archc.cli.console import note

        note(f"{folder} is compared by its keys and tensors alone: {error.problems[0]}")
        return changes
    return [*(compare(other, own) if spec == b else compare(own, other)), *changes]


def _print(console: Console, a: str, b: str, changes: list[Change]) -> None:
    from rich.text import Text

    from archc.authoring.difference import format_value

    if not changes:
        console.print(Text("equal"))
        return
    console.print(Text.assemble((f"- {a}", "red")))
    console.print(Text.assemble((f"+ {b}", "green")))
    for part, title in _TITLES.items():
        own = [change for change in changes if change.part == part]
        if own:
            console.print(Text.assemble("\n", (title, "bold")))
        for change in own:
            remark = (f"   {change.note}", "dim") if change.note else ""
            arrow = " → " if change.a is not None or change.b is not None else ""
            before, after = (format_value(change.a), format_value(change.b)) if arrow else ("", "")
            console.print(Text.assemble(f"  {change.path}: ", (before, "red"), arrow, (after, "green"), remark))
