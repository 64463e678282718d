"""Settings of every test: no network, no deadlines, quiet libraries, readable ids, one worker for a case's checks."""

from __future__ import annotations

import enum
import os
import re
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None)  # on a busy machine, a deadline fails what is right
settings.load_profile("default")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


SHARED = ("tests/families/", "tests/checkpoints/")
"""Folders whose cases are built once for all checks."""

_NAMED = (str, bytes, int, float, complex, type(None), re.Pattern, enum.Enum)


def pytest_make_parametrize_id(val: object, argname: str) -> None:
    """Refuse a parameter whose id would be a number or "<lambda>"; others have the default id."""
    if not isinstance(val, _NAMED) and getattr(val, "__name__", "<lambda>") == "<lambda>":
        raise ValueError(f"parameter {argname!r} has no readable id; use pytest.param(..., id=...) or ids=")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return a scheduler that sends all checks of one family's case to one worker, which builds the case once."""
    from xdist.scheduler import LoadScopeScheduling

    class CaseScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path, _, case = nodeid.partition("[")
            return case if case and path.partition("::")[0].startswith(SHARED) else nodeid

    return CaseScheduling(config, log)
