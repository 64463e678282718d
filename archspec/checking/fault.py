"""The fault that a rule finds, and the faults of keys that another key excludes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

Fault: TypeAlias = tuple[str, str, str]
"""The path of the key, the message, and the remedy."""


def key_faults(section: str, is_set: Mapping[str, bool], message: str, remedy: str) -> Iterator[Fault]:
    """Yield one fault for each key of a section that is set."""
    for key, present in is_set.items():
        if present:
            yield f"{section}.{key}", message, remedy
