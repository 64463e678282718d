"""Arguments that several commands share, and how texts of the command line become values."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from archc.cli.console import UsageError

Plan = Annotated[Path, typer.Argument(metavar="PLAN", help="An engine.plan.", show_default=False)]
Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC|DIR",
        help="A shipped spec's name (see `archc list`), a YAML file, or a checkpoint's folder.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Override a part of the spec, as in layer.norm.placement=post. Repeatable."
    ),
]
Size = Annotated[str | None, typer.Option("--size", metavar="NAME", help="One of the spec's sizes.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, metavar="N", help="CPU threads; by default the physical cores.")
]

_SEPARATORS = re.compile(r"[\s,]+")
_MOST_DIGITS = 18  # of an id, which has to fit into 64 bits


def parse_ids(text: str, option: str = "--ids") -> list[int]:
    """Token ids separated by commas or blanks. Raises UsageError for anything else, and for no id at all."""
    words = [word for word in _SEPARATORS.split(text) if word]
    if not words:
        raise UsageError(f"{option} is empty; give token ids, as in {option} 1,2,3")
    for word in words:
        if not (word.isascii() and word.isdigit() and len(word) <= _MOST_DIGITS):
            raise UsageError(f"{option}: {word[:40]!r} is not a token id; give whole numbers, as in {option} 1,2,3")
    return [int(word) for word in words]


def check_text(text: str, option: str) -> str:
    """The text of an argument, as UTF-8 whatever the locale. Raises UsageError for bytes that are not UTF-8."""
    try:
        data = os.fsencode(text)
    except UnicodeEncodeError as error:
        raise UsageError(f"{option}: {text[error.start]!r} at character {error.start} is half of a pair") from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{option}: byte 0x{data[error.start]:02x} at {error.start} is not valid UTF-8") from None
