"""Checks of specs that the rules reject."""

from __future__ import annotations

import pytest

from archc.archspec import SpecError
from tests.archspec.samples import Load


def assert_invalid(load: Load, text: str, message: str) -> None:
    """Check that binding a spec with these lines raises a message with a line."""
    spec = load(text)
    with pytest.raises(SpecError) as raised:
        spec.bind()
    assert message in str(raised.value)
    assert raised.value.problems[0].line > 0
