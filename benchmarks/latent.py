"""Latent attention's forms side by side, and the cache of each: python benchmarks/latent.py.

One layer's attention on ONNX Runtime's CPU provider in float32, projections left out, at the sizes of DeepSeek-V2-Lite.
`heads` is what a cache of every head's keys and values would give; the others read a cache of latents. `chosen` is what
`--target ort-cpu` builds. Milliseconds, medians; they belong to the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from archc.compiler.passes.attention.grouped_attention import group_attention
from archc.compiler.passes.attention.latent_forms import choose_latent_form
from torch import Tensor

from archc.compiler.contract.types import TensorType
from archc.compiler.ops import operators as ops
from archc.compiler.ops.latent_attention import latent_attention
from archc.compiler.passes.clean import clean
from archc.compiler.tracing.parts import Part, record

HEADS, NOPE, ROPE, VALUE, LATENT, LAYERS = 16, 128, 64, 128, 512, 27
SCALE = (NOPE + ROPE) ** -0.5


class OfLatents(torch.nn.Module):
    """Queries in two parts, what is cached [1, 1, T, LATENT + ROPE] and a mask; the weights are constants."""

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
        types[f"given.{name}"] = TensorType(tensor.dtype, tuple(shape))
    return record(Part(module, lambda given: [module(*given.values())], types))[0]


def always_expanded(model: ir.Model) -> int:
    """Both forms, of which the expanded one is taken whatever the lengths."""
    count = choose_latent_form(model)
    yes = ir.Value(name="yes", const_value=ir.tensor(np.array([True]), name="yes"))
    model.graph.register_initializer(yes)
    for node in model.graph:
        if node.op_type == "If":
            node.replace_input_with(0, yes)
    return count


def session(model: ir.Model, passes: Sequence[Callable[[ir.Model], int]], threads: int) -> onnxruntime.InferenceSession:
    """Load a copy of the graph after the passes."""
    model = model.clone()
    for graph_pass in passes:
        graph_pass(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    serialized = ir.serde.serialize_model(model).SerializeToString()
    return onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])


def milliseconds(form: onnxruntime.InferenceSession, given: dict[str, Tensor], seconds: float) -> float:
    """Return the median of one call, after a first one that does not count."""
    names = [item.name for item in form.get_inputs()]
    feeds = {name: onnxruntime.OrtValue.ortvalue_from_numpy(given[name[6:]].numpy()) for name in names}
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
    given = options.parse_args()

    latents = traced(OfLatents(), ("q", "rotated", "mask", "stored"))
    heads = traced(OfHeads(), ("q", "rotated", "mask", "k", "v"))
    forms = {
        "chosen": session(latents, (choose_latent_form, group_attention, clean), given.threads),
        "absorbed": session(latents, (group_attention, clean), given.threads),
        "expanded": session(latents, (always_expanded, group_attention, clean), given.threads),
        "heads": session(heads, (group_attention, clean), given.threads),
    }
    for name, width in (("latents", LATENT + ROPE), ("heads", HEADS * (NOPE + ROPE + VALUE))):
        print(f"a cache of {name:8} {4 * width:7,} bytes a token and layer, {4 * width * LAYERS:9,} in {LAYERS} layers")
    print(f"{'new tokens':>10} {'live':>6}" + "".join(f"{name:>10}" for name in forms))
    for live in (512, 4096):
        for queries in (1, 16, 128, 512):
            call = inputs(queries, live)
            figures = (milliseconds(form, call, given.seconds) for form in forms.values())
            print(f"{queries:>10} {live:>6}" + "".join(f"{figure:>10.2f}" for figure in figures), flush=True)


if __name__ == "__main__":
    main()
