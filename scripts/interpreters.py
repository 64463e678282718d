"""Run the tests on every Python that archc supports and this machine has: python scripts/interpreters.py.

Each interpreter gets a virtual environment of its own. The whole suite runs where pip can install a torch without CUDA
(or any torch, with --any-torch); elsewhere the tests that need no torch run. A table at the end states which.
PYTHONS lists interpreters to use instead of those that are found.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
WITHOUT_TORCH = ("-p", "tests.without_torch", "tests/archspec", "tests/runtime", "tests/archc")


def find(version: str) -> str | None:
    """Return the newest interpreter of a minor version, on PATH or of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    installed = sorted(pyenv.glob(f"{version}.*/bin/python"), key=lambda path: [*map(int, path.parts[-3].split("."))])
    return str(installed[-1]) if installed else shutil.which(f"python{version}")


def has_cpu_torch(python: Path) -> bool:
    """Return whether pip would install a torch that brings no CUDA libraries."""
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--dry-run",
        "--report",
        "-",
        "-c",
        "constraints.txt",
        "torch",
    ]
    done = subprocess.run(install, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return False
    names = [item["metadata"]["name"].lower() for item in json.loads(done.stdout)["install"]]
    return not any(name.startswith(("nvidia-", "cuda-")) for name in names)


def run(interpreter: str, folder: Path, workers: str, any_torch: bool) -> tuple[bool, str]:
    """Install archc for an interpreter and run its tests; return whether they passed and a line of the table."""
    subprocess.run([interpreter, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    whole = any_torch or has_cpu_torch(python)
    extras = "cpu,build,dev" if whole else "cpu,cli,test"
    install = [python, "-m", "pip", "install", "--quiet", "-c", "constraints.txt", "-e", f".[{extras}]"]
    subprocess.run(install, cwd=ROOT, check=True)
    version = subprocess.run(
        [python, "-c", "import platform; print(platform.python_version())"], check=True, capture_output=True, text=True
    ).stdout.strip()
    command = [
        python,
        "-m",
        "pytest",
        "-n",
        workers,
        "-m",
        "not slow and not runtimes",
        *(() if whole else WITHOUT_TORCH),
    ]
    output = list[str]()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as tests:
        for line in tests.stdout or ():
            print(line, end="", flush=True)
            output.append(line)
    counts = next((line.strip("= \n") for line in reversed(output) if re.search(r"\d+ passed", line)), "no test ran")
    return tests.returncode == 0, f"{version:8} {'whole suite' if whole else 'without torch'}: {counts}"


def main() -> int:
    """Run the tests of each interpreter; return 1 if any fails or none is found."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--workers", default="auto", help="processes of pytest-xdist")
    options.add_argument("--any-torch", action="store_true", help="also install a torch that brings CUDA's libraries")
    args = options.parse_args()
    named = os.environ.get("PYTHONS", "").split()
    interpreters = {name: name for name in named} or {version: find(version) for version in VERSIONS}
    good, table = True, list[str]()
    for name, interpreter in interpreters.items():
        if interpreter is None:
            table.append(f"{name:8} not on this machine")
            continue
        with tempfile.TemporaryDirectory() as folder:
            passed, line = run(interpreter, Path(folder) / "venv", args.workers, args.any_torch)
        good &= passed
        table.append(line if passed else f"{line}  FAILED")
    print("\n".join(table))
    return 0 if good and any(interpreters.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
