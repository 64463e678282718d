"""Arguments that several commands share, and the parsing of ids and texts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from archc.cli.completion import size_names, spec_names
from archc.cli.console import UsageError

DRAFT_TOKENS, MOST_DRAFT = 7, 64  # those of the runtime, which help does not import

Plan = Annotated[Path, typer.Argument(metavar="PLAN", help="An engine.plan file.", show_default=False)]
PlanOrFolder = Annotated[
    Path,
    typer.Argument(
        metavar="PLAN", help="An engine.plan file, or a folder of --target onnx or onnx-hf.", show_default=False
    ),
]
Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC|DIR|FILE|HUB_ID",
        help="Name of a shipped spec (see `archc list`), YAML file, checkpoint, or its id on the hub.",
        show_default=False,
        autocompletion=spec_names,
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
Size = Annotated[
    str | None, typer.Option("--size", metavar="NAME", help="Named size of the spec.", autocompletion=size_names)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, metavar="N", help="CPU threads. Default: the physical cores.")
]
Draft = Annotated[
    Path | None,
    typer.Option(
        "--draft", metavar="PLAN", help="Smaller plan with the same vocabulary, whose tokens are verified together."
    ),
]
DraftTokens = Annotated[
    int | None,
    typer.Option(
        "--draft-tokens", min=1, max=MOST_DRAFT, metavar="K", help=f"Most tokens of a proposal. Default: {DRAFT_TOKENS}"
    ),
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


def draft_options(draft: object, draft_tokens: int | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of a draft plan, if there is one. Raises UsageError for options that contradict it."""
    if not draft:
        if draft_tokens is not None:
            raise UsageError("--draft-tokens has no effect without --draft; remove it")
        return {}
    if options.get("speculate") in ("off", 0):
        raise UsageError("--draft has no effect with --speculate off; remove one")
    if options.get("num_beams", 1) > 1:
        raise UsageError("--draft has no effect on beam search; remove --num-beams or --draft")
    return {"draft": draft, "draft_tokens": draft_tokens or DRAFT_TOKENS}
