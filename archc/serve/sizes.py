"""Sizes in bytes as users write them."""

from __future__ import annotations

import re

from archc.error import Error

_SIZE = re.compile(r"(\d{1,12})(?:\.(\d{1,3}))?\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


class SizeError(Error):
    """A text that is no size."""


def parse_size(text: str, option: str) -> int:
    """Return the bytes of a size such as 512M or 1.5G. Raises SizeError, also for 0."""
    match = _SIZE.fullmatch(text.strip())
    size = int(float(f"{match[1]}.{match[2] or 0}") * (1 << _UNITS[match[3].upper()])) if match is not None else 0
    if not size:
        raise SizeError(f"{option}: expected a size such as 512M or 2G, got {text[:40]!r}")
    return size
