"""The command-line parser: the table of commands."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from archc.cli.commands.bench import bench_command
from archc.cli.commands.build import build_command
from archc.cli.commands.chat import chat_command
from archc.cli.commands.check import check_command
from archc.cli.commands.diff import diff_command
from archc.cli.commands.draw import draw_command
from archc.cli.commands.evaluate import eval_command
from archc.cli.commands.export_triton import export_triton_command
from archc.cli.commands.inspect import inspect_command
from archc.cli.commands.new import new_command
from archc.cli.commands.prove import prove_command
from archc.cli.commands.run import run_command
from archc.cli.commands.serve import serve_command
from archc.cli.commands.specs import list_command, schema_command
from archc.cli.commands.unpack import unpack_command
from archc.cli.commands.verify import verify_command

app = typer.Typer(
    name="archc",
    help="Compile model-family specs to engine.plan files, and run them.",
    epilog="Exit codes: 0 ok, 1 a check failed, 2 bad usage or input, 3 a fault of archc, 130 interrupted.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _name, _command in (
    ("build", build_command),
    ("run", run_command),
    ("serve", serve_command),
    ("chat", chat_command),
    ("verify", verify_command),
    ("bench", bench_command),
    ("eval", eval_command),
    ("inspect", inspect_command),
    ("draw", draw_command),
    ("check", check_command),
    ("new", new_command),
    ("diff", diff_command),
    ("prove", prove_command),
    ("list", list_command),
    ("schema", schema_command),
    ("unpack", unpack_command),
    ("export-triton", export_triton_command),
):
    app.command(_name)(_command)


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
