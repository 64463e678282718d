"""What can go wrong in a build by the user's input or machine."""

from __future__ import annotations


class BuildError(Exception):
    """A checkpoint, target or place to write that a build cannot use; the message says where and what to do."""
