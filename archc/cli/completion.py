"""Shell completion of arguments: shipped specs, their sizes, and the choices of an option."""

from __future__ import annotations

from collections.abc import Callable

import typer

from archc.error import Error

# The parameters of commands that contain a spec.
_SPEC_PARAMETERS = ("spec", "model")


def spec_names(incomplete: str) -> list[tuple[str, str]]:
    """Return the shipped specs that begin with a text, each with its description; a shell completes files itself."""
    from archc.archspec import list_specs

    return [(spec.name, spec.description) for spec in list_specs() if spec.name.startswith(incomplete)]


def size_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the named sizes of the command's spec that begin with a text."""
    from archc.archspec import load_spec

    # An option without its value yet stops the parser, which leaves all words before it in `args`.
    for name in (*(ctx.params.get(key) for key in _SPEC_PARAMETERS), *ctx.args):
        try:
            sizes = load_spec(name).sizes if name else {}
        except Error:
            continue  # the value of another option, or a fault, which the command itself reports
        if sizes:
            return [size for size in sizes if size.startswith(incomplete)]
    return []


def choices(*names: str) -> Callable[[str], list[str]]:
    """Return the completion of an option with fixed choices."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete
