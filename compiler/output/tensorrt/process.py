"""Engine builds in a child process, so that a crash of TensorRT's compiler ends a build with an error message.

The child is started with the parent's import paths and nothing else; multiprocessing would import the caller's main
module in it. It reads the request as a line of JSON from stdin, which stays open as long as the parent lives, and
writes the engine, a report as JSON, and its log into the folder of the build.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from archc import error as archc_error
from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt.network import ADVICE, AttentionLayer, NetworkReport, Sizes, build, parse
from archc.compiler.output.tensorrt.package import PACKAGES, load_package

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from archc.compiler.output.tensorrt.process import serve; serve()"
)
_TAIL_BYTES, _TAIL_LINES = 4000, 4  # of the child's log that an error repeats


@dataclass(frozen=True)
class BuildRequest:
    """One engine: the graph that it is built from and the file that it is written to, both in `folder`."""

    target: str
    folder: str
    graph: str
    engine: str
    profiles: Sequence[Mapping[str, Sizes]]
    capabilities: Sequence[str]
    weight_streaming: bool
    timing_cache: str | None

    @property
    def report_file(self) -> Path:
        """The file for the child's report, or for its error."""
        return Path(self.folder, f"{self.engine}.json")


def build_engine(request: BuildRequest) -> NetworkReport:
    """Build an engine. Raises BuildError if TensorRT refuses the graph, crashes, or is killed."""
    # An editable install may find archc through an import hook, which a process without site packages has not.
    entries = [*sys.path, str(Path(archc_error.__file__).parents[1])]
    paths = json.dumps([str(Path(entry).absolute()) for entry in entries])
    with Path(request.folder, f"{request.engine}.log").open("w+b") as log:
        try:
            # -I and -S: no environment variable and no site package runs code at the start.
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, paths], stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        except OSError as error:
            raise BuildError(f"{sys.executable}: the process that builds engines does not start: {error}") from None
        assert child.stdin is not None
        try:
            try:
                child.stdin.write(json.dumps(asdict(request)).encode() + b"\n")
                child.stdin.flush()
            except BrokenPipeError:
                pass  # it ended at once; its exit status has the reason
            status = child.wait()
        finally:
            child.kill()
            child.communicate()  # closes stdin and waits
        if status:
            raise BuildError(f"{request.graph}: {request.target} cannot build it: {_reason(status)}. {_tail(log)}")
    reply = json.loads(request.report_file.read_text("utf-8"))
    if "error" in reply:
        raise BuildError(reply["error"])
    return NetworkReport([AttentionLayer(**layer) for layer in reply["attentions"]], reply["cache_updates"])


def _reason(status: int) -> str:
    """Return the meaning of a nonzero exit status, with advice."""
    try:
        name = signal.Signals(-status).name
    except ValueError:
        return f"its process ended with status {status}"
    if name == "SIGKILL":
        return (
            "its process was killed (SIGKILL), probably because memory ran out; free memory, or build with a smaller "
            "--max-seq-len or --max-batch-size"
        )
    return f"TensorRT's compiler crashed ({name}); {ADVICE}"


def _tail(log: BinaryIO) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return f"Its last output: {' | '.join(lines[-_TAIL_LINES:])}" if lines else "It printed nothing"


def serve() -> None:
    """Run in the child: build the engine of the request on stdin, and exit no later than the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    request = BuildRequest(**json.loads(sys.stdin.buffer.readline()))
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    status = 0
    try:
        request.report_file.write_text(json.dumps(_reply(request)), "utf-8")
    except Exception:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    os._exit(status)  # without the exit handlers of the libraries


def _reply(request: BuildRequest) -> dict[str, Any]:
    try:
        return asdict(_build(request))
    except BuildError as error:
        return {"error": str(error)}
    except MemoryError:
        return {
            "error": f"{request.graph}: {request.target} cannot build it: there is not enough memory; free memory, or "
            "build with a smaller --max-seq-len or --max-batch-size"
        }
    except OSError as error:
        place = error.filename or f"the engine of {request.graph}"
        return {"error": f"{place}: cannot be read or written: {error.strerror or error}"}


def _build(request: BuildRequest) -> NetworkReport:
    trt = load_package(request.target)
    network = parse(trt, Path(request.folder, request.graph))
    engine = build(
        network,
        request.profiles,
        request.capabilities,
        PACKAGES[request.target].ahead_of_time,
        request.weight_streaming,
        Path(request.timing_cache) if request.timing_cache is not None else None,
    )
    with Path(request.folder, request.engine).open("wb") as file:
        file.write(memoryview(engine))
    return network.report


def _exit_with_parent() -> None:
    """Wait for the end of stdin, which the parent's end closes in every case, and exit."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)
