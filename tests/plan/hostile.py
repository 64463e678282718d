"""Helpers that damage a plan file."""

from __future__ import annotations

import json
import zipfile

from archc.plan import Plan
from archc.plan.archive import CENTRAL


def patched(plan, edit):
    """Apply `edit` to the plan's bytes, and return the path."""
    data = bytearray(plan.read_bytes())
    edit(data)
    plan.write_bytes(data)
    return plan


def rename(old, new):
    """Return an edit that renames an entry in both of its headers."""
    assert len(old) == len(new)

    def edit(data):
        assert data.count(old) >= 2
        data[:] = data.replace(old, new)

    return edit


def central(data, name):
    """Return the offset of an entry's record in the directory."""
    return data.rindex(name) - CENTRAL.size


def rezipped(plan, out, compression=zipfile.ZIP_STORED, **changed):
    """Write the plan's entries again with the zipfile module."""
    with zipfile.ZipFile(plan) as old, zipfile.ZipFile(out, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, changed.get(name, old.read(name)))
    return out


def with_manifest(plan, change):
    """Change the manifest in place and keep its length, so that the rest of the file stays valid."""
    with Plan(plan) as opened:
        at, size = opened.offset("manifest.json"), opened.size("manifest.json")
    raw = bytearray(plan.read_bytes())
    manifest = json.loads(raw[at : at + size])
    change(manifest)
    text = json.dumps(manifest, separators=(",", ":")).encode()
    assert len(text) <= size
    raw[at : at + size] = text.ljust(size)
    plan.write_bytes(raw)
    return plan
