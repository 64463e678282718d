"""Packages that the runtime does not need are not imported by it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from archc import plan

_NOT_NEEDED = ("pydantic", "yaml", "typer", "rich", "torch", "onnx", "onnx_ir", "onnxscript", "isal", "safetensors")
_CHECK = f"""
import sys
imported = sorted(set({_NOT_NEEDED!r}) & set(sys.modules))
assert not imported, imported
own = [name for name in sys.modules if name.startswith(("archc.cli", "archc.compiler", "archc.archspec"))]
assert not own, own
"""
_OPEN = """
import sys
from archc.plan import Plan
with Plan(sys.argv[1]) as plan:
    plan.verify_hashes()
    plan.model()
"""
_RUN = """
import sys
import archc
import archc.runtime
engine = archc.load(sys.argv[1], threads=1)
engine.generate([1, 2], 2)
"".join(engine.stream([{"role": "user", "content": "hello"}], chat=True, max_new_tokens=2))
"""


@pytest.mark.parametrize("code", [_OPEN, _RUN], ids=["reading a plan", "running a plan"])
def test_reading_and_running_a_plan_imports_only_what_it_needs(decoder_path, code):
    command = [sys.executable, "-c", code + _CHECK, str(decoder_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_check_finds_the_packages_of_the_writer(decoder_path):
    command = [sys.executable, "-c", "import archc.plan.writer\n" + _CHECK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "AssertionError: ['isal']" in done.stderr


def test_names_of_the_writer_are_imported_on_first_use():
    assert plan.PlanWriter.__module__ == "archc.plan.writer"
    assert plan.EntryStream.__module__ == "archc.plan.pipeline"
    with pytest.raises(AttributeError, match=r"module 'archc\.plan' has no attribute 'nothing'"):
        _ = plan.nothing
