"""Write the pages of the site: python -m website OUT [FAMILY ...]; with names, of those families only."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from archc.archspec import json_schema
from archc.archspec.source.catalog import shipped
from archc.draw.formats.colors import scheme_rules
from website.family import Family
from website.family_page import family_page
from website.gallery import gallery_page
from website.guides import guide
from website.places import family_place, guides
from website.reference import reference_pages

_ASSETS = Path(__file__).parent / "assets"


def write_site(out: Path, names: Iterable[str]) -> None:
    """Write all pages into a folder, which Zensical builds the site from."""
    shutil.rmtree(out, ignore_errors=True)
    families = [Family(name) for name in names]
    for place, path in guides().items():
        if path.suffix == ".md":
            _write(out / place, guide(path, place))
        else:
            _write(out / place, path.read_bytes())
    for family in families:
        _write(out / family_place(family.name), family_page(family))
    _write(out / "gallery" / "index.md", gallery_page(families))
    for place, page in reference_pages().items():
        _write(out / place, page)
    _write(out / "spec.schema.json", json.dumps(json_schema(), ensure_ascii=False))
    for path in _ASSETS.iterdir():
        _write(out / "assets" / path.name, path.read_bytes())
    _write(out / "assets" / "architecture.css", _colors())


def _colors() -> str:
    """Return the colors of figures in the two schemes of the site."""
    schemes = (("default", scheme_rules("light")), ("slate", scheme_rules("dark")))
    return "".join(
        f'[data-md-color-scheme="{name}"] .architecture {{\n{"".join(f"  {rule}{chr(10)}" for rule in rules)}}}\n'
        for name, rules in schemes
    )


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def main(arguments: list[str]) -> int:
    """Write the site into the folder that the first argument names."""
    if not arguments:
        print("usage: python -m website OUT [FAMILY ...]", file=sys.stderr)
        return 2
    write_site(Path(arguments[0]), arguments[1:] or shipped())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
