"""The command line: `archc COMMAND`.

Exit codes: 0 ok · 1 a check failed (verify, inspect --check) · 2 bad usage or input · 3 a fault of archc itself, with
its traceback · 130 interrupted · 141 the reader of stdout went away.  Results go to stdout, everything else to stderr.
With --json, stdout is exactly one JSON object, for an error too: {"error": text, "problems": [...]}.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from archc.cli.commands.build import build
from archc.cli.commands.check import check
from archc.cli.commands.inspect import inspect
from archc.cli.commands.run import run
from archc.cli.commands.specs import list_specs, schema
from archc.cli.commands.unpack import unpack
from archc.cli.commands.verify import verify
from archc.cli.console import UsageError, write_error, write_json

OK, CHECK_FAILED, BAD_INPUT, FAULT, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 3, 130, 141

# Looked up among the modules that are loaded already: an error of a module that nobody imported was not raised.
_ERRORS = {
    "archc.archspec.errors": "ArchspecError",
    "archc.compiler.errors": "BuildError",
    "archc.runtime.errors": "EngineError",
}
_EXTRAS = {
    **dict.fromkeys(("torch", "onnx_ir", "onnxscript", "safetensors", "huggingface_hub"), "build"),
    "onnxruntime": "cpu",
}

app = typer.Typer(
    name="archc",
    help="Compile model-family specs to engine.plan, and run plans.",
    epilog="Exit codes: 0 ok, 1 a check failed, 2 bad usage or input, 130 interrupted.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        import archc

        print(f"archc {archc.__version__}")
        raise typer.Exit


@app.callback()
def _archc(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Compile model-family specs to engine.plan, and run plans."""


for _name, _command in (
    ("build", build),
    ("run", run),
    ("verify", verify),
    ("inspect", inspect),
    ("check", check),
    ("list", list_specs),
    ("schema", schema),
    ("unpack", unpack),
):
    app.command(_name)(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; raises nothing."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # Text that the terminal's encoding lacks is shown escaped; it is no reason to stop.
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # those of libraries, which tell a user of archc nothing
    code = _guarded(given or ["--help"])
    return code if given else BAD_INPUT


def _guarded(arguments: list[str]) -> int:
    try:
        try:
            code = _call(arguments)
            sys.stdout.flush()
        except Exception as error:
            code = _failed(error, "--json" in arguments)
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return PIPE_CLOSED
    except OSError as error:
        _abandon_stdout()
        write_error(f"the result cannot be written: {error.strerror or error}")
        return BAD_INPUT
    return code


def _call(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        # A copy, for the parser empties the list that it gets.
        with command.make_context("archc", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return OK


def _failed(error: Exception, as_json: bool) -> int:
    """Tells the user what is wrong; an error that is no user's mistake gets its traceback. Raises BrokenPipeError."""
    if isinstance(error, BrokenPipeError):
        raise error
    message = _message(error)
    if message is None:
        traceback.print_exception(error, file=sys.stderr)
        message = f"this is a fault of archc, please report it: {type(error).__name__}: {error}"
        code = FAULT
    else:
        code = BAD_INPUT
    write_error(message)
    if as_json:
        problems = getattr(error, "problems", None)
        details: dict[str, Any] = {"problems": [asdict(problem) for problem in problems]} if problems else {}
        write_json({"error": message, **details})
    return code


def _message(error: Exception) -> str | None:
    """What to tell the user, or None where the error is not about their input or machine."""
    if isinstance(error, UsageError) or any(
        home in sys.modules and isinstance(error, getattr(sys.modules[home], name)) for home, name in _ERRORS.items()
    ):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _EXTRAS:
        name = (error.name or "").partition(".")[0]
        return f'this needs {name}, which is not installed: pip install "archc[{_EXTRAS[name]}]"'
    # torch has no class of its own for a failed allocation on the CPU.
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error)):
        return "there is not enough memory for this"
    if isinstance(error, OSError):
        named = isinstance(error.filename, str | bytes)
        place = f"{os.fsdecode(error.filename)}: " if named else "reading or writing failed: "
        return f"{place}{error.strerror or error}"
    # The parser's errors; their base class has moved from click into typer.
    told = getattr(error, "format_message", None)
    if told is not None:
        context = getattr(error, "ctx", None)
        return f"{told()} (see {context.command_path} --help)" if context is not None else str(told())
    return None


def _abandon_stdout() -> None:
    """Lets the interpreter's last flush go nowhere, where it would fail once more."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return  # not a file, so there is nothing to flush into
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
