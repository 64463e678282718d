from __future__ import annotations

from pathlib import Path

import pytest

from scripts.release_notes import notes

CHANGELOG = """# Changelog

## [Unreleased]

- Later.

## [1.2.0] - 2030-05-06

### Added

- A thing.

## [1.1.0] - 2030-01-02

## [1.0.0] - 2029-12-31

- First.
"""


def repository(folder: Path, version: str) -> Path:
    (folder / "pyproject.toml").write_text(f'[project]\nversion = "{version}"\n', "utf-8")
    (folder / "CHANGELOG.md").write_text(CHANGELOG, "utf-8")
    return folder


def test_notes_are_the_section_of_the_version(tmp_path: Path) -> None:
    assert notes("1.2.0", repository(tmp_path, "1.2.0")) == "### Added\n\n- A thing."
    assert notes("1.0.0", repository(tmp_path, "1.0.0")) == "- First."


def test_the_version_is_that_of_pyproject(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^pyproject.toml: expected version 1\.2\.0, got 1\.1\.0; "):
        notes("1.2.0", repository(tmp_path, "1.1.0"))


@pytest.mark.parametrize("version", ["1.1.0", "1.3.0", "1x2.0"])
def test_a_release_without_entries_is_refused(version: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^CHANGELOG.md: no entries under '## \[{version}\] - YYYY-MM-DD'; "):
        notes(version, repository(tmp_path, version))
