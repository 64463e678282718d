"""Runs graphs of `--target onnx` and `onnx-hf` in older versions of ONNX Runtime, and compares outputs with the newest.

    python benchmarks/opsets.py PYTHON [PYTHON …] [--families qwen2 t5 …]

Run it in archc's environment with the tests' packages, from the root of the repository. Each PYTHON has one version of
onnxruntime, and numpy. Models are the tiny random ones of the tests; a cell has the largest difference in one call.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from archc.compiler.build import build
from archc.plan.folder import open_plan
from archc.proof.built import Built, open_session
from archc.runtime.inputs.feeds import Feeder

CLIENT = Path(__file__).parent / "folders" / "onnxruntime_call.py"
TINY = Path(__file__).parents[1] / "examples" / "tiny-qwen2"
FAMILIES = ("qwen2", "gpt2", "mixtral", "deepseek-v2", "gemma3", "t5", "bert", "rwkv6", "mamba", "qwen3-5")
Arrays = dict[str, NDArray[Any]]
TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
LENGTH = 7


def zeros(session: Any, sizes: dict[str, int]) -> Arrays:
    """Return an array for every input of a session; named axes have these sizes, and one other slot each."""
    return {
        item.name: np.zeros(
            [size if isinstance(size, int) else sizes.get(size, LENGTH) for size in item.shape], TYPES[item.type]
        )
        for item in session.get_inputs()
    }


def calls(folder: Path, ids: NDArray[np.int64], target: str) -> Iterator[tuple[Path, Arrays]]:
    """Yield the graphs of a folder that need nothing of another graph, each with the inputs of a call."""
    with open_plan(folder) as plan:
        manifest = plan.manifest
    section, name = (manifest, "model.onnx") if manifest.encoder is None else (manifest.encoder, "encoder.onnx")
    if target == "onnx":
        feeds = zeros(open_session(folder / name), {"batch": 1})
        lengths, positions = np.array([LENGTH]), np.arange(LENGTH)[None]
        call = Feeder(section.inputs, section.limits).feeds(ids, np.zeros(1, np.int64), lengths, positions, None)
        yield folder / name, feeds | call
        return
    for graph in folder.glob("*.onnx"):
        feeds = zeros(open_session(graph), {"batch_size": 1, "past_sequence_length": 0})
        own = {"input_ids": ids, "position_ids": np.arange(LENGTH)[None], "attention_mask": np.ones_like(ids)}
        own["encoder_attention_mask"] = np.ones_like(ids)
        yield graph, {name: own.get(name, value) for name, value in feeds.items()}


def main() -> None:
    """Print a Markdown table: graphs by versions."""
    from tests.families.collection import cases_of

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="+", metavar="PYTHON")
    parser.add_argument("--families", nargs="*", default=FAMILIES)
    options = parser.parse_args()
    versions = [run(python, "-c", "import onnxruntime; print(onnxruntime.__version__)") for python in options.pythons]
    print(f"| family | target | graph | opset | {' | '.join(versions)} |\n|---|---|---|---|{'---|' * len(versions)}")
    for family in options.families:
        with tempfile.TemporaryDirectory() as place:
            built = Built(family, cases_of(family)[0], Path(place))
            ids = np.array(built.ids(1, LENGTH))
            for target in ("onnx-hf", "onnx"):
                folder = built.build_from(built.graphs, target, target, "float32")
                for graph, feeds in calls(folder, ids, target):
                    print(f"| {family} | {target} | {row(graph, feeds, options.pythons)}", flush=True)
    for quantize in ("int8", "int4"):
        with tempfile.TemporaryDirectory() as place:
            folder = build(TINY, out=Path(place) / "folder", target="onnx-hf", quantize=quantize)
            for graph, feeds in calls(folder, np.arange(LENGTH)[None], "onnx-hf"):
                print(f"| tiny-qwen2 {quantize} | onnx-hf | {row(graph, feeds, options.pythons)}", flush=True)


def row(graph: Path, feeds: Arrays, pythons: list[str]) -> str:
    """Return the cells of a graph: its name, its opset, and a cell for each version."""
    session = open_session(graph)
    names = [item.name for item in session.get_outputs()]
    expected = {f"={name}": value for name, value in zip(names, session.run(names, feeds), strict=True) if value.size}
    with tempfile.TemporaryDirectory() as place:
        call = Path(place) / "call.npz"
        np.savez(call, **feeds, **expected)
        cells = [run(python, str(CLIENT), str(graph), str(call)) for python in pythons]
    opset = onnx.load(graph, load_external_data=False).opset_import[0].version
    return f"{graph.name} | {opset} | {' | '.join(cells)} |"


def run(*command: str) -> str:
    """Return the output of a command, or the reason where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if not done.returncode:
        return done.stdout.strip()
    reason = done.stderr.strip().splitlines()[-1]
    known = re.search(r"model IR version: \d+|[Oo]pset \d+|[A-Z]\w+\(\d+\)(?= node)", reason)
    return f"no {known.group().replace('model ', '')}" if known else f"fails: {reason[-140:]}"


if __name__ == "__main__":
    main()
