"""Checks of what a case becomes for GPUs, on a machine that has none."""

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
import onnxruntime
from numpy.typing import NDArray

import archc.compiler.output.tensorrt.plan
from archc.compiler.output.tensorrt.network import Account
from archc.compiler.targets import TARGETS, tensorrt
from archc.plan import Engine, Plan
from tests.families.built import Built
from tests.families.checks import check_portable, expected, inputs_of
from tests.families.cuda_kernels import check_kernels
from tests.families.decided import decided_rows
from tests.families.graph_rules import check_graph
from tests.families.portable import Arrays, run_encoder, run_portable

HALF_TOLERANCE = 2e-2
"""Of the largest number of an output."""


@dataclass(frozen=True)
class EngineResult:
    """What building engines took."""

    seconds: float
    bytes: int


def check_engine(built: Built) -> EngineResult:
    """TensorRT for RTX parses and builds every graph; its attention layers, read back, are masked and not causal."""
    accounts: list[Account] = []
    check = archc.compiler.output.tensorrt.plan.check_account

    def recording(account: Account, engine: Engine) -> None:
        accounts.append(account)
        check(account, engine)

    begin = time.perf_counter()
    with patch("archc.compiler.output.tensorrt.plan.check_account", recording):
        plan = built.half("engine.plan", "tensorrt-rtx")
    seconds = time.perf_counter() - begin
    layers = [layer for account in accounts for layer in account.attentions]
    assert all(layer.masked and not layer.causal for layer in layers)
    assert all(layer.head_dim % 8 == 0 and layer.heads % layer.kv_heads == 0 for layer in layers)
    with Plan(plan) as opened:
        manifest = opened.manifest
        files = [part.engine.file for part in (manifest, manifest.encoder) if part is not None and part.engine]
        size = sum(opened.size(name) for name in files)
    assert len(accounts) == len(files)
    graphs = [list(graph.graph) for graph in built.half_graphs.values()]
    # Next to a Scan, attention is MatMul and Softmax for TensorRT.
    fused = [nodes for nodes in graphs if not any(node.op_type == "Scan" for node in nodes)]
    assert len(layers) == sum(is_standard_attention(node) for nodes in fused for node in nodes)
    assert sum(account.cache_updates for account in accounts) == sum(item.kind == "kv" for item in manifest.state)
    return EngineResult(seconds, size)


def is_standard_attention(node: ir.Node) -> bool:
    """Return whether a node of a traced graph becomes a standard Attention: it has no softcap and no sinks."""
    if node.op_type == "Attention":
        return len(node.inputs) < 6 and not node.attributes["softcap"].as_float()
    return node.op_type == "LatentAttention"


def check_form(built: Built) -> float:
    """TensorRT's passes over the portable graph compute what they should, in ONNX Runtime in float32."""
    onnx = replace(TARGETS["onnx"], passes=tensorrt.lowering)
    with patch.dict("archc.compiler.options.TARGETS", onnx=onnx):
        folder = built.build_from(built.graphs, "form", "onnx", "float32")
    form = copy(built)
    for name in ("session", "encoder_session", "manifest"):
        vars(form).pop(name, None)
    vars(form)["portable"] = folder
    return check_portable(form)


def check_cuda(built: Built) -> None:
    """ONNX Runtime's CUDA provider has a kernel for every node."""
    with Plan(built.half("cuda.plan", "ort-cuda")) as plan:
        for name in plan.names:
            if name.endswith(".onnx"):
                check_kernels(plan.read(name))


def check_rules(built: Built) -> None:
    """The portable graph in float16 holds nothing that a runtime may lack."""
    for path in half_folder(built).glob("*.onnx"):
        check_graph(path)


def half_folder(built: Built) -> Path:
    """The portable graph in float16."""
    folder = built.folder / "half"
    return folder if folder.exists() else built.half("half", "onnx")


class Half(NamedTuple):
    """How far float16 is off, as a part of the output's largest number, and how many prompts were left out of it."""

    gap: float
    undecided: int


def check_half(built: Built) -> Half:
    """The portable graph in float16, on the CPU, beside the reference in float32, where routers decide clearly."""
    folder = half_folder(built)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    ids, types, source = inputs_of(built)
    ids, undecided = decided_rows(built, ids)
    first = built.case.length - 4
    crossed = run_encoder(session(folder / "encoder.onnx"), manifest, source) if source is not None else None
    got = run_portable(session(folder / "model.onnx"), manifest, ids, types, first, crossed)
    if built.case.depends_on_calls:
        sizes = [first, *[1] * (built.case.length - first)]
        wanted: Arrays = {"logits": np.stack([built.reference.in_steps(row, sizes) for row in ids])}
    else:
        wanted = dict(expected(built, ids, types, source))
    assert got.keys() == wanted.keys()
    gap = max(distance(got[role], wanted[role]) for role in wanted)
    assert gap < HALF_TOLERANCE, f"{gap:.1e} from the reference"
    return Half(gap, undecided)


def distance(got: NDArray[np.floating], wanted: NDArray[np.floating]) -> float:
    """The largest difference as a part of the largest number wanted; infinite where something is no number."""
    assert got.shape == wanted.shape
    gap = float(np.abs(got.astype(np.float64) - wanted).max() / np.abs(wanted).max())
    return gap if np.isfinite(gap) else float("inf")


def session(path: Path) -> onnxruntime.InferenceSession:
    """A graph in plain ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
