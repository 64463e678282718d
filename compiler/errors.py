"""What can go wrong in a build."""

from __future__ import annotations


class BuildError(Exception):
    """A checkpoint, target or place to write that a build cannot use; the message says where and what to do."""


class TraceError(Exception):
    """A component computes what no graph can say for every size: a fault of archc, whatever the input."""
