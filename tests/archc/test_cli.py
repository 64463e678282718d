"""The command line as a whole, and the public API."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import archc as api
from archc.cli import app
from tests.archc.conftest import Archc

HEAVY = "{'torch', 'transformers', 'onnx_ir', 'onnxscript'}"


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_help_and_version(archc: Archc) -> None:
    result = archc("--help")
    assert result.code == 0
    names = ("build", "run", "verify", "inspect", "check", "list", "schema", "unpack")
    assert all(f"  {name} " in result.out for name in names)
    for name in names:
        assert archc(name, "--help").code == 0
    assert archc("--version").out == f"archc {api.__version__}\n"


def test_usage_errors(archc: Archc) -> None:
    nothing = archc()
    assert (nothing.code, "Usage: archc" in nothing.out) == (2, True)
    unknown = archc("biuld")
    assert unknown.code == 2
    assert "Did you mean 'build'?" in unknown.errors[0]
    missing = archc("run")
    assert missing.code == 2
    assert "see archc run --help" in missing.errors[0]
    assert archc("--nothing").code == 2


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "PLAN", "--ids", "1,2"], ["inspect", "PLAN"], ["list"], ["schema"]]
)
def test_what_imports_no_torch(small: Path, arguments: list[str]) -> None:
    words = [str(small) if word == "PLAN" else word for word in arguments]
    out = python(
        f"import sys; from archc.cli.app import main; main({words!r}); print(sorted({HEAVY} & set(sys.modules)))"
    )
    assert out.endswith("\n[]\n")


def test_the_api_imports_no_torch(small: Path) -> None:
    out = python(
        "import sys, archc; bare = set(sys.modules)\n"
        f"print(archc.load({str(small)!r}).generate([[1, 2]], max_new_tokens=2), archc.__version__, archc.errors)\n"
        f"print(bool({HEAVY} & set(sys.modules)), bool({{'numpy', 'pydantic', 'typer', 'rich'}} & bare))"
    )
    assert out.endswith("\nFalse False\n")


def test_module_and_script(small: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "archc", "run", small, "--ids", "99"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("archc: error: the prompt, position 0: expected an id from 0 to")


def test_api(small: Path, tmp_path: Path) -> None:
    assert set(api.__all__) <= set(dir(api))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = api.nothing
    for call in (lambda: api.load(tmp_path / "none"), lambda: api.build("none", random=1), lambda: api.build("llama")):
        with pytest.raises(api.errors):
            call()
    assert api.load(small).vocab_size == 60


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MemoryError(), 2, "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 2, "not enough memory"),
        (ModuleNotFoundError("no", name="torch"), 2, 'pip install "archc[build]"'),
        (ModuleNotFoundError("no", name="onnx_ir.passes"), 2, 'pip install "archc[build]"'),
        (ModuleNotFoundError("no", name="onnxruntime"), 2, 'pip install "archc[cpu]"'),
        (PermissionError(13, "Permission denied", "/x"), 2, "/x: Permission denied"),
        (OSError(28, "No space left on device"), 2, "No space left on device"),
        (KeyboardInterrupt(), 130, None),
        (BrokenPipeError(), 141, None),
        (KeyError("x"), 3, "this is a fault of archc"),
    ],
)
def test_exit_codes(
    archc: Archc, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str | None
) -> None:
    def fail(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(app, "_call", fail)
    result = archc("list")
    assert result.code == code
    if message is None:
        assert result.err == ""
    else:
        assert message in result.err
    if code == 2:
        assert "Traceback" not in result.err
