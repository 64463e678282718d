"""The entry point of the command line: exit codes, and errors as one line each.

Exit codes: 0 ok · 1 a check failed (verify, inspect --check) · 2 bad usage or input · 3 a fault of archc itself, with
a traceback · 130 interrupted · 141 the reader of stdout is gone. Results go to stdout, everything else to stderr. With
--json, stdout is exactly one JSON object, for errors too: {"error": text, "problems": [...]}.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from archc.cli.console import write_error, write_json
from archc.cli.usage import usage_message
from archc.error import Error, install_hint

OK, CHECK_FAILED, BAD_INPUT, FAULT, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 3, 130, 141

_PATH_ERRORS = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)

# The extra of the distribution that installs a package.
_EXTRAS = {
    **dict.fromkeys(("typer", "rich", "yaml", "pydantic", "prompt_toolkit"), "cli"),
    **dict.fromkeys(("torch", "onnx", "onnx_ir", "onnxscript", "safetensors", "huggingface_hub", "isal"), "build"),
    "lm_eval": "eval",
    "onnxruntime": "cpu",
    **dict.fromkeys(("starlette", "uvicorn", "prometheus_client"), "serve"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; never raises."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # Text that the terminal's encoding lacks is escaped instead of raising UnicodeEncodeError.
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # warnings of libraries, which a user of archc cannot act on
    code = _guarded(words or ["--help"])
    return code if words else BAD_INPUT


def _open_closed_streams() -> None:
    """Open /dev/null in place of stdout and stderr if the caller closed them, as `>&-` does.

    Python has None for such a stream, and the next file to be opened, such as a plan, would have its descriptor.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (it stays open)


def _guarded(arguments: list[str]) -> int:
    try:
        try:
            code = _call(arguments)
            sys.stdout.flush()
        except Exception as error:
            code = _report(error, "--json" in arguments)
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
    from archc.cli.parser import parse_and_run  # it needs the `cli` extra, and this module must report a missing one

    return parse_and_run(arguments)


def _report(error: Exception, as_json: bool) -> int:
    """Write an error to stderr, with a traceback if it is no user's mistake; return the exit code.

    Raises BrokenPipeError.
    """
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
    """Return the text for the user, or None if the error is not about their input or machine."""
    if isinstance(error, Error):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        return f"{package} is not installed; {install_hint(_EXTRAS[package])}" if package in _EXTRAS else None
    # torch has no class of its own for a failed allocation on the CPU.
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error)):
        return "not enough memory"
    if isinstance(error, OSError):
        has_path = isinstance(error.filename, str | bytes)
        place = f"{os.fsdecode(error.filename)}: " if has_path else "reading or writing failed: "
        remedy = "; check the path and its permissions" if has_path and isinstance(error, _PATH_ERRORS) else ""
        return f"{place}{error.strerror or error}{remedy}"
    return usage_message(error) if hasattr(error, "format_message") else None


def _abandon_stdout() -> None:
    """Redirect stdout to /dev/null, because the interpreter's last flush would fail once more."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return  # not a file, so there is nothing to flush
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
