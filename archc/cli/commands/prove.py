"""`archc prove`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from archc.cli.commands.options import Json
from archc.cli.completion import spec_names
from archc.cli.console import UsageError, write_json


def prove_command(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC",
            help="YAML file, or name of a shipped spec.",
            show_default=False,
            autocompletion=spec_names,
        ),
    ],
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="DIR", help="Checkpoint that the weight table must fit, too.")
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option("--config", metavar="KEY=VALUE", help="Value of the tiny config, as JSON. Repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove a spec on tiny random weights.

    If transformers has the class of `match.architectures`, its outputs are the reference: slots, parameter count,
    logits, cached decoding, ragged batches, the portable graph, and whether each changed number shows. Without the
    class, the checks that need none. Exit code 1 if a check fails.
    """
    import json

    from archc.archspec import find_spec
    from archc.proof.ladder import Step, climb

    changes: dict[str, Any] = {}
    for text in config or []:
        key, _, value = text.partition("=")
        try:
            changes[key] = json.loads(value)
        except ValueError:
            raise UsageError(f"--config {text}: expected KEY=VALUE with a value in JSON") from None
    steps: list[Step] = []
    for step in climb(str(find_spec(spec)), weights, changes):
        steps.append(step)
        if not as_json:
            mark = {True: "ok", False: "FAILED", None: "--"}[step.ok]
            print(f"{mark:6}  {step.name:13}{step.figure}", flush=True)
    ok = all(step.ok is not False for step in steps)
    if as_json:
        write_json({"ok": ok, "steps": [asdict(step) for step in steps]})
    if not ok:
        raise typer.Exit(1)
