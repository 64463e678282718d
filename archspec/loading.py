"""Loading of specs from files, shipped names and texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from archc.archspec.binding.spec import Spec, build_spec
from archc.archspec.errors import Problem
from archc.archspec.source.inheritance import parse_raw_spec, read_raw_spec


def load_spec(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Spec:
    """Return a shipped spec by name, or the spec of a file, with `--set path=value` overrides.

    Raises SpecError with every problem of the spec.
    """
    problems: list[Problem] = []
    return build_spec(read_raw_spec(name_or_path, problems), overrides, problems)


def load_spec_text(text: str, file: str = "spec", overrides: Sequence[str] = ()) -> Spec:
    """Return a spec from its text, as a plan stores it; it can extend shipped specs only.

    `file` is its name in messages. Raises SpecError with every problem of the spec.
    """
    problems: list[Problem] = []
    return build_spec(parse_raw_spec(text, file, problems), overrides, problems)
