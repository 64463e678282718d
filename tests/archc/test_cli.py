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
# The packages of the extras `cli` and `build`.
CLI = ("typer", "rich", "yaml", "pydantic", "pydantic_core")
BUILD = ("torch", "onnx", "onnx_ir", "onnxscript", "safetensors", "huggingface_hub", "isal", "transformers")


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
    "arguments",
    [["--help"], ["run", "PLAN", "--ids", "1,2"], ["inspect", "PLAN"], ["list"], ["schema"]],
    ids=lambda arguments: arguments[0].strip("-"),
)
def test_commands_that_import_no_torch(small: Path, arguments: list[str]) -> None:
    words = [str(small) if word == "PLAN" else word for word in arguments]
    out = python(
        f"import sys; from archc.cli.app import main; main({words!r}); print(sorted({HEAVY} & set(sys.modules)))"
    )
    assert out.endswith("\n[]\n")


@pytest.mark.parametrize(
    ("command", "unused"),
    [("list", ["numpy", "pydantic"]), ("check qwen2", ["numpy"])],
    ids=["list", "check"],
)
def test_quick_commands_import_little(command: str, unused: list[str]) -> None:
    out = python(
        "import sys; from archc.cli.app import main; "
        f"main({command.split()!r}); print(sorted({{*{unused!r}, 'archc.cli.commands.run'}} & set(sys.modules)))"
    )
    assert out.endswith("\n[]\n")


COMPLETED = {
    "command": (["archc", "dr"], ["draw"]),
    "spec": (["archc", "build", "qwen3-n"], ["qwen3-next"]),
    "spec of a figure": (["archc", "draw", "gpt2", "mamba2"], ["mamba2"]),
    "size": (["archc", "build", "qwen2", "--target", "onnx", "--size", ""], ["0.5b", "7b"]),
    "beginning of a size": (["archc", "inspect", "qwen2", "--size", "0"], ["0.5b"]),
    "target": (["archc", "build", "qwen2", "--target", "onnx-"], ["onnx-hf"]),
    "sizes of no spec": (["archc", "build", "--size", ""], []),
}


@pytest.mark.parametrize(("words", "expected"), COMPLETED.values(), ids=COMPLETED)
def test_completion_in_a_shell(
    words: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_ARCHC_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.setattr(sys, "argv", ["archc"])
    with pytest.raises(SystemExit):
        app.main()
    assert capfd.readouterr().out.split() == expected


def test_choices_of_build_are_those_of_the_targets() -> None:
    from archc.cli.commands import build
    from archc.compiler.targets import TARGETS

    assert set(build._TARGETS) == set(TARGETS)
    assert set(build._DTYPES) == {dtype for target in TARGETS.values() for dtype in target.dtypes}
    assert set(build._QUANTIZATIONS) == {name for target in TARGETS.values() for name in target.quantizations}


def test_the_api_imports_no_torch(small: Path) -> None:
    out = python(
        "import sys, archc; bare = set(sys.modules)\n"
        f"print(archc.load({str(small)!r}).generate([[1, 2]], max_new_tokens=2), archc.__version__, archc.errors)\n"
        f"print(bool({HEAVY} & set(sys.modules)), bool({{'numpy', 'pydantic', 'typer', 'rich'}} & bare))"
    )
    assert out.endswith("\nFalse False\n")


def without(packages: tuple[str, ...], code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process where the packages are not installed."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({packages!r}))"
    return subprocess.run([sys.executable, "-c", f"{blocked}\n{code}"], capture_output=True, text=True, check=False)


def test_the_api_needs_a_backend_alone(small: Path) -> None:
    code = f"import archc; print(archc.load({str(small)!r}).generate([[1, 2]], max_new_tokens=3))"
    done = without((*CLI, *BUILD), code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{api.load(small).generate([[1, 2]], max_new_tokens=3)}\n"


def test_run_needs_the_command_line_alone(archc: Archc, small: Path) -> None:
    words = ["run", str(small), "--ids", "1,2", "--max-new-tokens", "3"]
    done = without(BUILD, f"from archc.cli.app import main; sys.exit(main({words!r}))")
    assert (done.returncode, done.stdout, done.stderr) == (0, archc(*words).out, "")


@pytest.mark.parametrize("words", [["check", "qwen2"], ["list"], ["--help"]], ids=lambda words: words[0])
def test_specs_are_read_without_the_packages_that_take_long_to_import(words: list[str]) -> None:
    done = without(
        (*BUILD, "numpy", "rich", "onnxruntime"), f"from archc.cli.app import main; sys.exit(main({words!r}))"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_the_script_without_the_command_line_says_what_to_install(package: str) -> None:
    done = without((package,), "from archc.cli.app import main; sys.exit(main(['list']))")
    if package == "rich":  # of progress bars alone
        assert done.returncode == 0, done.stderr
        return
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"archc: error: typer is not installed; {install('cli')}")
    assert done.stderr.count("\n") == 1


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
    for call, kind in (
        (lambda: api.load(tmp_path / "none"), api.EngineError),
        (lambda: api.build("none", random=1), api.ArchspecError),
        (lambda: api.build("llama"), api.BuildError),
    ):
        with pytest.raises(api.errors) as caught:
            call()
        assert isinstance(caught.value, kind)
        assert issubclass(kind, api.Error)
    assert api.load(small).vocab_size == 60


def install(extra: str) -> str:
    return (
        f'from a clone of the repository: pip install ".[{extra}]" (from a package index: pip install "archc-compiler'
    )


EXIT_CODES: dict[str, tuple[BaseException, int, str | None]] = {
    "memory": (MemoryError(), 2, "not enough memory"),
    "torch-memory": (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 2, "not enough memory"),
    "no-torch": (ModuleNotFoundError("no", name="torch"), 2, f"torch is not installed; {install('build')}"),
    "no-onnx-ir": (
        ModuleNotFoundError("no", name="onnx_ir.passes"),
        2,
        f"onnx_ir is not installed; {install('build')}",
    ),
    "no-onnxruntime": (ModuleNotFoundError("no", name="onnxruntime"), 2, install("cpu")),
    "no-typer": (ModuleNotFoundError("no", name="typer"), 2, install("cli")),
    "no-permission": (PermissionError(13, "Permission denied", "/x"), 2, "/x: Permission denied"),
    "no-space": (OSError(28, "No space left on device"), 2, "No space left on device"),
    "own-error": (api.Error("spec.yaml: wrong; fix it"), 2, "archc: error: spec.yaml: wrong; fix it"),
    "interrupted": (KeyboardInterrupt(), 130, None),
    "closed-pipe": (BrokenPipeError(), 141, None),
    "fault": (KeyError("x"), 3, "this is a fault of archc"),
    "own-module-missing": (ModuleNotFoundError("no", name="archc.nothing"), 3, "this is a fault of archc"),
}


@pytest.mark.parametrize("case", EXIT_CODES)
def test_exit_codes(archc: Archc, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    error, code, message = EXIT_CODES[case]

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


USAGE = {
    "no plan": (("run",), "missing argument 'PLAN'; see archc run --help"),
    "below": (("run", "p", "--max-new-tokens", "0"), "--max-new-tokens: expected an integer of at least 1, got 0; see"),
    "above": (("bench", "p", "--batch", "5000"), "--batch: expected an integer from 1 to 1024, got 5000; see"),
    "no integer": (("build", "qwen2", "--random", "a"), "--random: expected an integer of at least 0, got a; see"),
    "no number": (("run", "p", "--temperature", "x"), "--temperature: expected a number, got x; see archc run --help"),
    "no option": (("list", "--jsn"), "no such option: --jsn (Possible options: --json); see archc list --help"),
    "too many": (("schema", "x"), "got unexpected extra argument(s) (x); see archc schema --help"),
}


@pytest.mark.parametrize(("words", "message"), USAGE.values(), ids=USAGE)
def test_messages_of_the_parser(archc: Archc, words: tuple[str, ...], message: str) -> None:
    result = archc(*words)
    assert (result.code, result.out) == (2, "")
    assert result.errors[0].startswith(message)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_output_streams(small: Path, closed: str) -> None:
    command = f"{sys.executable} -m archc run {small} --ids 1,2 --max-new-tokens 2 {closed}"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (closed == "2>&-")
