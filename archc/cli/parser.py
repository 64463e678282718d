"""The command-line parser: the table of commands."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.core

_COMMANDS = {
    "build": "build:build_command",
    "run": "run:run_command",
    "serve": "serve:serve_command",
    "chat": "chat:chat_command",
    "verify": "verify:verify_command",
    "bench": "bench:bench_command",
    "eval": "evaluate:eval_command",
    "inspect": "inspect:inspect_command",
    "draw": "draw:draw_command",
    "check": "check:check_command",
    "new": "new:new_command",
    "diff": "diff:diff_command",
    "prove": "prove:prove_command",
    "list": "specs:list_command",
    "schema": "specs:schema_command",
    "unpack": "unpack:unpack_command",
    "export-triton": "export_triton:export_triton_command",
}
"""The module in archc.cli.commands and the function of each command."""


class _Commands(Mapping[str, Any]):
    """The commands of the parser by name; reading one imports its module."""

    def __getitem__(self, name: str) -> Any:
        module, function = _COMMANDS[name].split(":")
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        single.command(name)(getattr(import_module(f"archc.cli.commands.{module}"), function))
        return typer.main.get_command(single)

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class _Group(typer.core.TyperGroup):
    """`archc`, which imports the module of the command that is called, and no other."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Commands()  # type: ignore[assignment]  # it is only read


app = typer.Typer(
    name="archc",
    cls=_Group,
    help="Compile model-family specs to engine.plan files, and run them.",
    epilog="Exit codes: 0 ok, 1 a check failed, 2 bad usage or input, 3 a fault of archc, 130 interrupted.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMPLETION = "_ARCHC_COMPLETE"


def _print_version(requested: bool) -> None:
    if requested:
        import archc

        print(f"archc {archc.__version__}")
        raise typer.Exit


@app.callback()
def _archc(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Compile model-family specs to engine.plan files, and run them."""


def parse_and_run(arguments: list[str]) -> int:
    """Run one command line; return its exit code. Raises the parser's and the command's errors."""
    command = typer.main.get_command(app)
    if _COMPLETION in os.environ:  # set by the function that --install-completion adds to a shell
        command.main(prog_name="archc")
    try:
        # A copy, because the parser empties its list.
        with command.make_context("archc", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return 0
