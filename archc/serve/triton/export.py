"""A model repository of Triton Inference Server with one plan."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from archc.error import Error
from archc.plan.reader import Plan
from archc.serve.triton.signature import config_text

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
PLAN = "engine.plan"
_MODEL = '''"""A plan of archc as a model of Triton's Python backend, which requires the distribution archc-compiler."""

from pathlib import Path

from archc.serve.triton.model import PlanModel


class TritonPythonModel(PlanModel):
    """The model; Triton calls initialize, execute and finalize."""

    path = Path(__file__).with_name("engine.plan")
'''


class ExportError(Error):
    """A plan that Triton cannot serve, or a folder that exists."""


def export_triton(plan: Path, out: Path, name: str, slots: int, queue: int, threads: int | None = None) -> Path:
    """Write the folder of a model into the repository `out`, and return it.

    It has config.pbtxt, 1/model.py and a copy of the plan. Raises PlanError for an invalid plan, ExportError for an
    encoder's, and for a folder that exists.
    """
    if _NAME.fullmatch(name) is None:
        raise ExportError(f"--name: expected letters, digits, '.', '_' and '-', got {name[:40]!r}")
    with Plan(plan) as opened:
        manifest = opened.manifest
    if manifest.topology == "encoder":
        raise ExportError(f"{plan}: {manifest.family} is an encoder, which generates no text; use archc serve")
    if manifest.packed is None:
        raise ExportError(f"{plan}: the plan has no graph for many sequences; build it again with --target ort-cpu")
    folder = out / name
    if folder.exists() or folder.is_symlink():
        raise ExportError(f"{folder}: already exists; remove it, or give another --name")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=out) as temporary:
        whole = Path(temporary) / name
        version = whole / "1"
        version.mkdir(parents=True)
        (whole / "config.pbtxt").write_text(config_text(name, slots, queue, threads), "utf-8")
        (version / "model.py").write_text(_MODEL, "utf-8")
        shutil.copyfile(plan, version / PLAN)
        whole.rename(folder)
    return folder
