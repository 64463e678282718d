"""The page of text architectures: python -m tests.families.architectures [--write].

The list is data/architectures.csv: every text model of transformers by its model_type, its kind, and the words of the
vocabulary that it lacks if no spec has it. A spec has it if its `match:` names the model_type.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from archc.archspec.source.catalog import shipped, valid_headers
from tests.families.pages import put

OUT = Path(__file__).parent.parent.parent / "docs" / "architectures.md"
LIST = Path(__file__).parent / "data" / "architectures.csv"
HEAD = """# Text architectures

The text models of transformers 5.24 by `model_type` (causal, masked and sequence-to-sequence models, text encoders,
and the text parts of multimodal models), with the spec of each, or the words that the vocabulary lacks for it. A spec
is proven by the checks of [families](families.md).

{covered} of {total} have a spec.

Written by `python -m tests.families.architectures --write`.

| model_type | kind | spec | lacks |
|---|---|---|---|
"""


def specs_by_type() -> dict[str, list[str]]:
    """Return the names of the shipped specs of each model_type."""
    result: dict[str, list[str]] = {}
    headers, _ = valid_headers(shipped())
    for name, header in headers.items():
        for model_type in header.model_types:
            result.setdefault(model_type, []).append(name)
    return result


def listed() -> list[tuple[str, str, str]]:
    """Return the model_type, the kind and the missing words of each architecture."""
    lines = LIST.read_text("utf-8").splitlines()
    return [(model_type, kind, lacks) for model_type, kind, lacks in csv.reader(lines)]


def page() -> str:
    """Return the page."""
    specs, rows, covered = specs_by_type(), listed(), 0
    lines = []
    for model_type, kind, lacks in rows:
        names = specs.get(model_type, [])
        covered += bool(names)
        lines.append(f"| {model_type} | {kind} | {', '.join(names)} | {'' if names else lacks or 'a spec'} |\n")
    return HEAD.format(covered=covered, total=len(rows)) + "".join(lines)


def main(arguments: list[str]) -> int:
    """Print or write the page."""
    put(OUT, page(), arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
