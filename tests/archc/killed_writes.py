"""Kills a writer at each of its file operations, in turn: python -m tests.archc.killed_writes CASE FOLDER OLD NEW.

OLD and NEW are plans. The writer puts NEW, as a plan, an unpacked folder or an ONNX folder, in place of OLD. After each
kill the output must be OLD or NEW whole, and the next write removes all that the killed one left. Prints how often it
was which; any other state is an AssertionError.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from archc.compiler.output.folder_writer import FolderWriter
from archc.plan import Plan, PlanWriter, replacing, writer

Content = dict[str, bytes]
EVENTS = ("open", "os.", "ctypes.dlsym")  # of sys.audit: all that touches a file, and the lookup of renameat2


def write_plan(source: Path, out: Path) -> None:
    with Plan(source) as plan, PlanWriter(out) as writer:
        for name in plan.names:
            if name != "manifest.json":
                writer.add(name, plan.read(name))
        writer.finish(plan.manifest)


def unpack(source: Path, out: Path) -> None:
    with Plan(source) as plan:
        plan.unpack(out)


def write_folder(source: Path, out: Path) -> None:
    with Plan(source) as plan, FolderWriter(out) as writer:
        for name in plan.names:
            if name == "weights.bin":
                with writer.stream(name) as stream:
                    stream.write(plan.read(name))
            elif name != "manifest.json":
                writer.add(name.removeprefix("tokenizer/"), plan.read(name))
        writer.finish(plan.manifest)


WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "plan": write_plan,
    "plan-without-unnamed-files": write_plan,
    "unpacked": unpack,
    "onnx-folder": write_folder,
    "unpacked-without-exchange": unpack,
}


def content(path: Path) -> Content | None:
    """Return the bytes of a file, or of every file in a folder, by relative name; None if there is nothing."""
    if not path.exists():
        return None
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def killed(write: Callable[[], None], after: int) -> bool:
    """Return whether a child process that writes was killed before its file operation number `after`."""
    child = os.fork()
    if child == 0:
        left = after

        def count(event: str, _: object) -> None:
            nonlocal left
            if event.startswith(EVENTS) and event != "os.kill":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        write()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), f"the writer failed: {status}"
    return status != 0


def main(case: str, folder: Path, old: Path, new: Path) -> None:
    write, out = WRITERS[case], folder / "out"
    if case.endswith("without-exchange"):
        replacing._rename = lambda *_: False  # as on a file system that cannot exchange two names
    write(new, out)
    if case.endswith("without-unnamed-files"):
        writer._open_unnamed = lambda _: None
    wanted = content(out)
    found: Counter[str] = Counter()
    for after in range(10_000):
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (folder / "mine.txt").write_text("mine")
        write(old, out)
        before = content(out)
        assert before != wanted
        ended = not killed(lambda: write(new, out), after)
        now = content(out)
        hidden_files = [path for path in folder.iterdir() if path.name.startswith(".")]
        found["leftovers"] += bool(hidden_files)
        assert case != "plan" or all(content(path) == wanted for path in hidden_files), after
        if now is None:
            hidden = [content(path) for path in folder.iterdir() if path.is_dir()]
            assert case.endswith("without-exchange"), after
            assert before in hidden, after
            assert wanted in hidden, after
            found["between the two renames"] += 1
        else:
            assert now in (before, wanted), after
            found["old" if now == before else "new"] += 1
        assert (folder / "mine.txt").read_text() == "mine"
        write(new, out)
        assert content(out) == wanted, after
        assert sorted(path.name for path in folder.iterdir()) == ["mine.txt", "out"], after
        if ended:
            assert now == wanted
            assert sorted(path.name for path in folder.iterdir()) == ["mine.txt", "out"]
            break
    print(dict(found))


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
