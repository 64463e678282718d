"""The base class of every error that archc reports to its users, and the advice for a missing package."""

from __future__ import annotations


class Error(Exception):
    """A mistake in a spec, checkpoint, plan, prompt or option; the message gives place, fault and remedy."""


def install_hint(extra: str) -> str:
    """Return the commands that install an extra of the distribution, `archc-compiler`."""
    return (
        f'from a clone of the repository: pip install ".[{extra}]" '
        f'(from a package index: pip install "archc-compiler[{extra}]")'
    )
