"""The figures of docs/draw.md: `python -m tests.archc.draw.pictures --write` writes them to docs/figures."""

from __future__ import annotations

import sys
from pathlib import Path

from archc.cli.draw.output import render
from archc.cli.draw.subject import read_subject

FOLDER = Path(__file__).parents[3] / "docs" / "figures"
FIGURES = {
    "qwen2": "0.5b",
    "gptj": "6b",
    "gemma3": "1b",
    "mixtral": "8x7b",
    "deepseek-v3": "671b",
    "t5": "small",
    "rwkv7": "0.1b",
    "jamba": "mini",
    "bert": "base",
}


def picture(name: str) -> str:
    """Return the SVG of one of the figures."""
    return render([read_subject(name, FIGURES[name], [], [])], ".svg")


def path(name: str) -> Path:
    return FOLDER / f"{name}.svg"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.archc.draw.pictures --write")
    FOLDER.mkdir(exist_ok=True)
    for figure in FIGURES:
        path(figure).write_text(picture(figure), "utf-8")
