"""The base class of every error that archc reports to its users."""

from __future__ import annotations


class Error(Exception):
    """A mistake in a spec, checkpoint, plan, prompt or option; the message gives place, fault and remedy."""
