"""Errors of a build."""

from __future__ import annotations

from archc.error import Error


class BuildError(Error):
    """A checkpoint, target, option or output path that a build cannot use; the message gives place and remedy."""


class TraceError(Exception):
    """A component cannot be traced for every size: a fault of archc, whatever the input."""
