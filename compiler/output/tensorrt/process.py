"""TensorRT's compiler in a process of its own, both ends: where it crashes, a build ends in order and says so.

The order is a line of JSON on stdin, which stays open as long as the parent lives. What comes back are files of the
build's folder: the engine, what TensorRT made of the graph as JSON, and all that was printed.
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

from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt.network import ADVICE, Account, AttentionLayer, Sizes, build, parse
from archc.compiler.output.tensorrt.package import PACKAGES, load_package

# With the parent's paths and nothing else, so that both use the same packages.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from archc.compiler.output.tensorrt.process import main; main()"
)
_TAIL, _LINES = 4000, 4  # bytes and lines of what was printed that an error repeats


@dataclass(frozen=True)
class Order:
    """One engine: the graph to build it from and the file to write it to, in one folder."""

    target: str
    folder: str
    graph: str
    engine: str
    profiles: Sequence[Mapping[str, Sizes]]
    capabilities: Sequence[str]
    weight_streaming: bool
    timing_cache: str | None

    @property
    def answer(self) -> Path:
        """Where the child says what it made, or why it made nothing."""
        return Path(self.folder, f"{self.engine}.json")


def build_engine(order: Order) -> Account:
    """Has an engine built. Raises BuildError where TensorRT refuses the graph, crashes, or is killed."""
    paths = json.dumps([str(Path(entry).absolute()) for entry in sys.path])
    with Path(order.folder, f"{order.engine}.log").open("w+b") as log:
        try:
            # -I and -S: nothing else is run at its start.
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, paths], stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        except OSError as error:
            raise BuildError(f"TensorRT builds in a process of its own, which does not start: {error}") from None
        assert child.stdin is not None
        try:
            try:
                child.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
                child.stdin.flush()
            except BrokenPipeError:
                pass  # it ended at once: its status says how
            status = child.wait()
        finally:
            child.kill()
            child.communicate()  # closes stdin and waits
        if status:
            raise BuildError(f"{order.target} cannot build {order.graph}: {_ending(status)}. {_printed(log)}")
    answer = json.loads(order.answer.read_text("utf-8"))
    if "error" in answer:
        raise BuildError(answer["error"])
    return Account([AttentionLayer(**layer) for layer in answer["attentions"]], answer["cache_updates"])


def _ending(status: int) -> str:
    """What a status that is not zero means, and what to do."""
    try:
        name = signal.Signals(-status).name
    except ValueError:
        return f"its process ended with status {status}"
    if name == "SIGKILL":
        return (
            "its process was killed (SIGKILL), as systems do for want of memory: free some, "
            "or build with less --max-seq-len or --max-batch-size"
        )
    return f"TensorRT's own compiler crashed ({name}); {ADVICE}"


def _printed(log: BinaryIO) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL))
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return f"It printed: {' | '.join(lines[-_LINES:])}" if lines else "It printed nothing"


def main() -> None:
    """The child: builds what stdin orders, and ends with whoever ordered it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal's Ctrl-C, the parent makes an end
    order = Order(**json.loads(sys.stdin.buffer.readline()))
    threading.Thread(target=_follow_parent, daemon=True).start()
    status = 0
    try:
        order.answer.write_text(json.dumps(_answer(order)), "utf-8")
    except Exception:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    os._exit(status)  # what the libraries do at an exit is of no use here


def _answer(order: Order) -> dict[str, Any]:
    try:
        return _work(order)
    except BuildError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": f"{order.target} cannot build {order.graph}: there is not enough memory for this"}
    except OSError as error:
        place = error.filename or f"the engine of {order.graph}"
        return {"error": f"{place}: cannot be read or written: {error.strerror or error}"}


def _work(order: Order) -> dict[str, Any]:
    trt = load_package(order.target)
    network = parse(trt, Path(order.folder, order.graph))
    engine = build(
        network,
        order.profiles,
        order.capabilities,
        PACKAGES[order.target].ahead,
        order.weight_streaming,
        Path(order.timing_cache) if order.timing_cache is not None else None,
    )
    with Path(order.folder, order.engine).open("wb") as file:
        file.write(memoryview(engine))
    return asdict(network.account)


def _follow_parent() -> None:
    """Waits for the end of stdin, which is the end of the parent, however that came."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)
