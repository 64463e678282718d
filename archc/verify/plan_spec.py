"""The spec inside a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archc.archspec import BoundSpec
    from archc.plan import Manifest


def bind_plan(manifest: Manifest, path: str) -> BoundSpec:
    """Return the spec of the plan at `path`, at its sizes. Raises ArchspecError if this archc cannot read it."""
    from archc.archspec import load_spec_text

    return load_spec_text(manifest.spec, f"{path}: spec").bind(manifest.config, source=f"{path}: config")
