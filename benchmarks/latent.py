"""Forms of latent attention side by side, and the cache of each: python benchmarks/latent.py.

One layer's attention on ONNX Runtime's CPU provider in float32, projections left out, at the sizes of DeepSeek-V2-Lite.
`heads` reads a cache of every head's keys and values, the others a cache of latents. `chosen` is the form of
`--target ort-cpu`. Milliseconds, medians; they depend on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from torch import Tensor

from archc.compiler.contract.rings import Rings
from archc.compiler.contract.types import TensorType
from archc.compiler.ops import operators as ops
from archc.compiler.ops.latent_attention import latent_attention
from archc.compiler.targets import Choices, ort_cpu
from archc.compiler.tracing.parts import Part, record

HEADS, NOPE, ROPE, VALUE, LATENT, LAYERS = 16, 128, 64, 128, 512, 27
SCALE = (NOPE + ROPE) ** -0.5


class OfLatents(torch.nn.Module):
    """Queries in two parts over cached latents [1, 1, T, LATENT + ROPE] with a mask; the weights are constants."""

    def __init__(self) -> None:
        super().__init__()
        self.k_up = torch.nn.Buffer(torch.randn(HEADS * NOPE, LATENT) * LATENT**-0.5)
        self.v_up = torch.nn.Buffer(torch.randn(HEADS * VALUE, LATENT) * LATENT**-0.5)

    def forward(self, q: Tensor, rotated: Tensor, mask: Tensor, stored: Tensor) -> Tensor:
        return latent_attention(q, rotated, stored, self.k_up, self.v_up, mask, SCALE)


class OfHeads(torch.nn.Module):
    """The same queries over keys [1, HEADS, T, NOPE + ROPE] and values [1, HEADS, T, VALUE]."""

    def forward(self, q: Tensor, rotated: Tensor, mask: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return ops.attention(torch.cat((q, rotated), dim=-1), k, v, mask, None, SCALE, 0.0)


def inputs(queries: int, live: int) -> dict[str, Tensor]:
    """Random numbers for a call of `queries` tokens that leaves `live` in the cache."""
    return {
        "q": torch.randn(1, HEADS, queries, NOPE),
        "rotated": torch.randn(1, HEADS, queries, ROPE),
        "mask": (torch.arange(live) <= torch.arange(queries)[:, None] + live - queries)[None, None],
        "stored": torch.randn(1, 1, live, LATENT + ROPE),
        "k": torch.randn(1, HEADS, live, NOPE + ROPE),
        "v": torch.randn(1, HEADS, live, VALUE),
    }


def traced(module: torch.nn.Module, names: Sequence[str]) -> ir.Model:
    """Return the portable graph of a module with these inputs."""
    axes = {"q": "seq", "rotated": "seq", "stored": "total", "k": "total", "v": "total"}
    types = {}
    for name in names:
        tensor = inputs(1, 1)[name]
        shape: list[int | str] = list(tensor.shape)
        if name == "mask":
            shape[2:] = ["seq", "total"]
        else:
            shape[2] = axes[name]
        types[f"input.{name}"] = TensorType(tensor.dtype, tuple(shape))
    return record(Part(module, lambda tensors: [module(*tensors.values())], types))[0]


def with_form(model: ir.Model, expanded: bool) -> ir.Model:
    """Return a copy of a lowered graph that has one form for all lengths."""
    model = model.clone()
    fixed = ir.Value(name="fixed", const_value=ir.tensor(np.array([expanded]), name="fixed"))
    model.graph.register_initializer(fixed)
    for node in model.graph:
        condition = node.inputs[0] if node.op_type == "If" else None
        if condition is not None and (maker := condition.producer()) is not None and maker.op_type == "Less":
            node.replace_input_with(0, fixed)
    return model


def lowered(model: ir.Model) -> ir.Model:
    """Return a graph as `--target ort-cpu` lowers it."""
    for graph_pass in ort_cpu.passes(Choices(rings=Rings(), slots=8192, decodes=True)):
        graph_pass(model)
    return model


def session(model: ir.Model, threads: int) -> onnxruntime.InferenceSession:
    """Load a graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    serialized = ir.serde.serialize_model(model).SerializeToString()
    return onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])


def milliseconds(form: onnxruntime.InferenceSession, tensors: dict[str, Tensor], seconds: float) -> float:
    """Return the median of one call, after a first one that does not count."""
    names = [item.name for item in form.get_inputs()]
    feeds = {name: onnxruntime.OrtValue.ortvalue_from_numpy(tensors[name[6:]].numpy()) for name in names}
    form.run_with_ort_values(None, feeds)
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        begin = time.perf_counter()
        form.run_with_ort_values(None, feeds)
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    options.add_argument("--seconds", type=float, default=0.5, help="for each figure")
    args = options.parse_args()

    latents = lowered(traced(OfLatents(), ("q", "rotated", "mask", "stored")))
    heads = lowered(traced(OfHeads(), ("q", "rotated", "mask", "k", "v")))
    forms = {
        "chosen": session(latents, args.threads),
        "absorbed": session(with_form(latents, expanded=False), args.threads),
        "expanded": session(with_form(latents, expanded=True), args.threads),
        "heads": session(heads, args.threads),
    }
    for name, width in (("latents", LATENT + ROPE), ("heads", HEADS * (NOPE + ROPE + VALUE))):
        print(f"a cache of {name:8} {4 * width:7,} bytes a token and layer, {4 * width * LAYERS:9,} in {LAYERS} layers")
    print(f"{'new tokens':>10} {'live':>6}" + "".join(f"{name:>10}" for name in forms))
    for live in (512, 4096):
        for queries in (1, 16, 128, 512):
            call = inputs(queries, live)
            figures = (milliseconds(form, call, args.seconds) for form in forms.values())
            print(f"{queries:>10} {live:>6}" + "".join(f"{figure:>10.2f}" for figure in figures), flush=True)


if __name__ == "__main__":
    main()
