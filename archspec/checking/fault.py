"""The fault that a rule finds."""

from __future__ import annotations

from typing import TypeAlias

Fault: TypeAlias = tuple[str, str, str]
"""The path of the key, the message, and the remedy."""
