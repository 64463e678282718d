"""Differences of two models, as the layout and the formats read them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

Changes = Mapping[str, Collection[str]]
"""By the id of a block, the texts in which it differs from its counterpart in another model."""

NOTHING: Changes = {}


@dataclass(frozen=True)
class Difference:
    """A value of two specs that differs, as text."""

    path: str
    a: str
    b: str
