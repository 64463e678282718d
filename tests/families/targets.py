"""Checks of a case's builds for GPU targets, on a machine without a GPU."""

from __future__ import annotations

import json
import time
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

import archc.compiler.output.tensorrt.plan
from archc.compiler.modules.basic.head import NEVER
from archc.compiler.output.tensorrt.network import NetworkReport
from archc.compiler.targets import TARGETS, tensorrt
from archc.plan import Engine, Plan
from archc.proof.built import Built, open_session
from archc.proof.checks import check_portable, inputs_of, reference_outputs
from archc.proof.graph_rules import check_graph
from archc.proof.portable import Arrays, run_encoder, run_portable
from tests.families.cuda_kernels import check_kernels
from tests.families.router_margins import rows_with_clear_routing

FLOAT16_TOLERANCE = 2e-2
"""Relative to the largest number of an output."""


@dataclass(frozen=True)
class EngineResult:
    """Build time and size of a case's engines."""

    seconds: float
    bytes: int


def check_engine(built: Built) -> EngineResult:
    """Build every graph with TensorRT for RTX, and check that its attention layers have a mask and no causal flag."""
    reports: list[NetworkReport] = []
    check = archc.compiler.output.tensorrt.plan.check_report

    def record(report: NetworkReport, engine: Engine) -> None:
        reports.append(report)
        check(report, engine)

    begin = time.perf_counter()
    with patch("archc.compiler.output.tensorrt.plan.check_report", record):
        plan = built.build_float16("engine.plan", "tensorrt-rtx")
    seconds = time.perf_counter() - begin
    layers = [layer for report in reports for layer in report.attentions]
    assert all(layer.masked and not layer.causal for layer in layers)
    assert all(layer.head_dim % 8 == 0 and layer.heads % layer.kv_heads == 0 for layer in layers)
    with Plan(plan) as opened:
        manifest = opened.manifest
        files = [part.engine.file for part in (manifest, manifest.encoder) if part is not None and part.engine]
        size = sum(opened.size(name) for name in files)
    assert len(reports) == len(files)
    graphs = [list(graph.graph) for graph in built.float16_graphs.values()]
    # Next to a Scan, attention is MatMul and Softmax for TensorRT.
    fused = [nodes for nodes in graphs if not any(node.op_type == "Scan" for node in nodes)]
    assert len(layers) == sum(is_standard_attention(node) for nodes in fused for node in nodes)
    assert sum(report.cache_updates for report in reports) == sum(
        item.kind in ("kv", "block") for item in manifest.state
    )
    return EngineResult(seconds, size)


def is_standard_attention(node: ir.Node) -> bool:
    """Return whether a node of a traced graph becomes a standard Attention: it has no softcap and no sinks."""
    if node.op_type == "Attention":
        return len(node.inputs) < 6 and not node.attributes["softcap"].as_float()
    return len(node.inputs) < {"JointAttention": 6, "LatentAttention": 7}.get(node.op_type, 0)


def check_tensorrt_passes(built: Built) -> float:
    """Compare the portable graph after TensorRT's passes, run in ONNX Runtime in float32, with the reference."""
    onnx = replace(TARGETS["onnx"], passes=tensorrt.lowering)
    with patch.dict("archc.compiler.options.TARGETS", onnx=onnx):
        folder = built.build_from(built.graphs, "tensorrt-passes", "onnx", "float32")
    lowered = copy(built)
    for name in ("session", "encoder_session", "manifest"):
        vars(lowered).pop(name, None)
    vars(lowered)["portable"] = folder
    return check_portable(lowered)


def check_cuda(built: Built) -> None:
    """Check that ONNX Runtime's CUDA provider has a kernel for every node."""
    with Plan(built.build_float16("cuda.plan", "ort-cuda")) as plan:
        for name in plan.names:
            if name.endswith(".onnx"):
                check_kernels(plan.read(name))


def check_rules(built: Built) -> None:
    """Check the rules of the portable graph in float16."""
    for path in float16_folder(built).glob("*.onnx"):
        check_graph(path)


def float16_folder(built: Built) -> Path:
    """Build the portable graph in float16, once."""
    folder = built.folder / "float16"
    return folder if folder.exists() else built.build_float16("float16", "onnx")


class Float16Error(NamedTuple):
    """The error of float16 relative to the output's largest number, and the number of prompts left out."""

    error: float
    undecided: int


def check_float16(built: Built) -> Float16Error:
    """Compare the portable graph in float16, on the CPU, with the reference in float32, on rows with clear routing."""
    folder = float16_folder(built)
    manifest = json.loads((folder / "archc.json").read_text("utf-8"))
    ids, types, source = inputs_of(built)
    ids, source, undecided = rows_with_clear_routing(built, ids, source)
    first = built.case.length - 4
    encoded = run_encoder(open_session(folder / "encoder.onnx"), manifest, source) if source is not None else None
    outputs = run_portable(open_session(folder / "model.onnx"), manifest, ids, types, first, encoded)
    if built.case.depends_on_calls:
        sizes = [first, *[1] * (built.case.length - first)]
        reference: Arrays = {"logits": np.stack([built.reference.in_steps(row, sizes) for row in ids])}
    else:
        reference = dict(reference_outputs(built, ids, types, source))
    assert outputs.keys() == reference.keys()
    error = max(relative_error(outputs[role], reference[role]) for role in reference)
    assert error < FLOAT16_TOLERANCE, f"{error:.1e} from the reference"
    return Float16Error(error, undecided)


def relative_error(values: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Return the largest difference relative to the largest expected number, infinity if it is not finite.

    Logits of tokens that are never predicted do not count as expected numbers.
    """
    assert values.shape == expected.shape
    error = float(np.abs(values.astype(np.float64) - expected).max() / np.abs(expected[expected != NEVER]).max())
    return error if np.isfinite(error) else float("inf")
