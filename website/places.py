"""Paths of the repository, and their addresses on the site."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
REPOSITORY = "https://github.com/archc-compiler/archc"

# Files outside of docs/ that are pages; all other files are links to the repository.
_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
_COPIED = (".png", ".svg")


class BrokenLinkError(Exception):
    """A link of a page to a file that does not exist."""


def guides() -> dict[str, Path]:
    """Return the tracked pages and pictures by their place on the site."""
    found = {place: ROOT / name for name, place in _PAGES.items()}
    for path in sorted(DOCS.rglob("*")):
        if path.suffix in (".md", *_COPIED):
            found[path.relative_to(DOCS).as_posix()] = path
    return found


def address(target: Path, page: str) -> str:
    """Return the link from a page of the site to a file of the repository, to its page or to the repository."""
    name = Path(os.path.normpath(target)).relative_to(ROOT).as_posix()
    if name in _PAGES:
        return relative(_PAGES[name], page)
    if target.is_relative_to(DOCS) and target.suffix in (".md", *_COPIED):
        return relative(target.relative_to(DOCS).as_posix(), page)
    if name.startswith("specs/") and name.count("/") == 1 and target.suffix == ".yaml":
        return relative(family_place(target.stem), page)
    return f"{REPOSITORY}/{'tree' if target.is_dir() else 'blob'}/main/{name}"


def family_place(name: str) -> str:
    """Return the place of a family's page."""
    return f"gallery/{name}.md"


def relative(place: str, page: str) -> str:
    """Return the link from one page of the site to another."""
    return os.path.relpath(place, PurePosixPath(page).parent)
