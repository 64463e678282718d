"""The failure of a check, with its reason."""

from __future__ import annotations


class CheckError(AssertionError):
    """A check that a spec does not pass; the message is the reason."""


def require(condition: bool, message: str) -> None:
    """Raise CheckError with the message unless the condition holds."""
    if not condition:
        raise CheckError(message)
