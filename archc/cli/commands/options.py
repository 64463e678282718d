"""Arguments that several commands share, and the parsing of ids and texts."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from archc.cli.console import UsageError

Plan = Annotated[Path, typer.Argument(metavar="PLAN", help="An engine.plan file.", show_default=False)]
Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC|DIR|FILE",
        help="Name of a shipped spec (see `archc list`), YAML file, or checkpoint.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Override a value of the spec: layer.norm.placement=post. Repeatable."
    ),
]
IgnoreConfig = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore-config", metavar="KEY", help="Key of config.json without effect on the model; * allowed. Repeatable."
    ),
]
Adapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter", metavar="DIR[=WEIGHT]", help="LoRA adapter to merge into the weights: DIR or DIR=0.5. Repeatable."
    ),
]
Size = Annotated[str | None, typer.Option("--size", metavar="NAME", help="Named size of the spec.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, metavar="N", help="CPU threads. Default: the physical cores.")
]

_SEPARATORS = re.compile(r"[\s,]+")
_MOST_DIGITS = 18  # an id must fit into 64 bits


def parse_ids(text: str, option: str = "--ids") -> list[int]:
    """Return token ids separated by commas or spaces. Raises UsageError for anything else, and for no id at all."""
    words = [word for word in _SEPARATORS.split(text) if word]
    if not words:
        raise UsageError(f"{option} is empty; expected token ids, for example {option} 1,2,3")
    for word in words:
        if not (word.isascii() and word.isdigit() and len(word) <= _MOST_DIGITS):
            raise UsageError(f"{option}: {word[:40]!r} is not a token id; expected integers, for example 1,2,3")
    return [int(word) for word in words]


def check_text(text: str, option: str) -> str:
    """Return an argument as text, decoded as UTF-8 in any locale. Raises UsageError for bytes that are not UTF-8."""
    try:
        data = os.fsencode(text)
    except UnicodeEncodeError as error:
        character = text[error.start]
        raise UsageError(f"{option}: {character!r} at character {error.start} is half of a surrogate pair") from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{option}: byte 0x{data[error.start]:02x} at {error.start} is not valid UTF-8") from None
