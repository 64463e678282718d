"""Print a version's section of CHANGELOG.md: python scripts/release_notes.py VERSION.

Exits with 1 if the version is not that of pyproject.toml, or if its section is absent or empty.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def notes(version: str, root: Path = ROOT) -> str:
    """Return the text below a version's heading in CHANGELOG.md.

    Raises ValueError if the version, pyproject.toml and CHANGELOG.md disagree.
    """
    declared = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    if declared != version:
        raise ValueError(f"pyproject.toml: expected version {version}, got {declared}; change it and tag again")
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)"
    section = re.search(heading, changelog, flags=re.MULTILINE | re.DOTALL)
    if section is None or not section[1].strip():
        heading = f"## [{version}] - YYYY-MM-DD"
        raise ValueError(f"CHANGELOG.md: no entries under '{heading}'; move those of [Unreleased] there")
    return section[1].strip()


def main(args: list[str]) -> int:
    """Print the notes of a version; return the exit code."""
    if len(args) != 1:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    try:
        print(notes(args[0]))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
