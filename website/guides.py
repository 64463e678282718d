"""The tracked pages, with links that hold on the site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from website.places import ROOT, BrokenLinkError, address

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
_ANCHOR = re.compile(r'<a href="([^"]+)">(.*?)</a>')
_PATH = re.compile(r"(?<![`\[])`([\w.-]+(?:/[\w.-]+)*/?)`(?!\]|`)")
_FENCE = re.compile(r"\s*(```|~~~)")


def guide(path: Path, page: str) -> str:
    """Return a tracked page with links to pages of the site, or to the repository; paths in code become links."""
    lines = []
    for line, is_code in _lines(path.read_text("utf-8")):
        lines.append(line if is_code else linked(line, path, page))
    return "\n".join(lines) + "\n"


def _lines(source: str) -> Iterator[tuple[str, bool]]:
    """Yield the lines of a page, and whether they are inside a block of code."""
    fenced = is_list = False
    for line in source.splitlines():
        is_fence = _FENCE.match(line) is not None
        if line.strip() and not line.startswith(" "):
            is_list = re.match(r"(?:[-*]|\d+\.) ", line) is not None
        yield line, fenced or is_fence or (line.startswith("    ") and not is_list)
        fenced ^= is_fence


def linked(line: str, path: Path, page: str) -> str:
    """Return a line of prose with the links of the site. Raises BrokenLinkError for a file that does not exist."""
    # Markdown inside an HTML element is read if the element states it.
    for tag, mode in (("details", "1"), ("summary", "span")):
        line = line.replace(f"<{tag}>", f'<{tag} markdown="{mode}">')
    line = _ANCHOR.sub(r"[\2](\1)", line)

    def link(match: re.Match[str]) -> str:
        target = path.parent / match[1]
        if not target.exists():
            raise BrokenLinkError(f"{path.relative_to(ROOT)}: {match[1]}: no such file; correct the link")
        return address(target, page) + (match[2] or "")

    def code(match: re.Match[str]) -> str:
        name = match[1]
        target = ROOT / name
        is_path = "/" in name or target.suffix in (".md", ".toml", ".txt")
        return f"[`{name}`]({address(target, page)})" if is_path and target.exists() else match[0]

    return _PATH.sub(code, _LINK.sub(link, line))
