"""`archc build`."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archc.cli.commands.options import Set, Size, Spec
from archc.cli.console import UsageError, note, progress_bar, warn

if TYPE_CHECKING:
    from archc.plan import Manifest


def build(
    spec: Spec,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", metavar="DIR|HUB_ID", help="A checkpoint's folder, or owner/name[@revision] on the hub."
        ),
    ] = None,
    size: Size = None,
    random: Annotated[
        int | None, typer.Option("--random", min=0, metavar="SEED", help="Random weights instead of a checkpoint.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="FILE", help="Where to write: engine.plan, or the folder engine-onnx.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            "--target", metavar="ort-cpu|ort-cuda|tensorrt|tensorrt-rtx|onnx", help="See `archc list --targets`."
        ),
    ] = "ort-cpu",
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype", metavar="float32|float16|bfloat16",
            help="The numbers of the weights: by default float32, and float16 on GPUs.", show_default=False,
        ),
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option(
            "--quantize", metavar="int8|int4|fp8",
            help="Weights in fewer bits: smaller, faster, not the same. fp8 is for TensorRT.",
        ),
    ] = None,
    kv: Annotated[
        str | None, typer.Option("--kv", metavar="int8", help="Keys and values in fewer bits, for long contexts.")
    ] = None,
    max_seq_len: Annotated[
        int | None,
        typer.Option("--max-seq-len", min=1, metavar="N", help="Longest sequence; by default the model's context."),
    ] = None,
    max_batch_size: Annotated[
        int, typer.Option("--max-batch-size", min=1, metavar="N", help="Most rows of a call (TensorRT).")
    ] = 1,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(
            "--compute-capability", metavar="X.Y", help="A device that the engine is for (tensorrt-rtx). Repeatable."
        ),
    ] = None,
    weight_streaming: Annotated[
        bool, typer.Option("--weight-streaming", help="Let weights stay in host memory (TensorRT).")
    ] = False,
    timing_cache: Annotated[
        Path | None,
        typer.Option("--timing-cache", metavar="FILE", help="Kernel timings of earlier builds (tensorrt)."),
    ] = None,
    keep_graph: Annotated[
        bool, typer.Option("--keep-graph", help="Keep graph and weights beside the engine, to build it again.")
    ] = False,
    overrides: Set = None,
) -> None:  # fmt: skip
    """Build a plan from a spec and a checkpoint, or the engine of a plan anew from the graph that it kept.

    Prints one line: path, bytes, target, dtype, parameters, seconds. Whatever goes wrong, an older plan of that name
    stays as it was.
    """
    if weights is not None and random is not None:
        raise UsageError("--weights and --random contradict each other: give one")
    begin = time.perf_counter()
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with _lasting():
        from archc.compiler.build import build as build_plan
        from archc.compiler.output.tensorrt.plan import is_plan, rebuild
        from archc.compiler.output.tensorrt.sections import EngineOptions
        from archc.compiler.targets import TARGETS

    engine = EngineOptions(max_batch_size, tuple(compute_capability or ()), weight_streaming, timing_cache, keep_graph)
    if is_plan(spec):
        given = {
            "--weights": weights, "--random": random, "--size": size, "--dtype": dtype, "--quantize": quantize,
            "--kv": kv, "--max-seq-len": max_seq_len, "--set": overrides,
        }  # fmt: skip
        for option, value in given.items():
            if value is not None:
                raise UsageError(f"{option}: a plan's graph and weights are as they were built: leave it out")
        with progress_bar(of_bytes=True) as bar:
            path = rebuild(Path(spec), out or Path(spec), target, engine, bar)
        _report(path, begin)
        return
    folder = target in TARGETS and TARGETS[target].folder
    place = out or Path("engine-onnx" if folder else "engine.plan")
    if place.is_dir() and not folder:
        raise UsageError(f"{place}: is a folder; give a file's name with -o")
    with progress_bar(of_bytes=True) as bar:
        announced = False

        def progress(name: str, done: int, total: int) -> None:
            nonlocal announced
            if not announced:
                note(f"writing {total:,} bytes of weights to {place}")
                announced = True
            bar(name, done, total)

        path = build_plan(
            spec, weights, out=place, target=target, dtype=dtype, quantize=quantize, kv=kv, size=size, random=random,
            max_seq_len=max_seq_len, engine=engine, overrides=overrides or (), progress=progress, warn=warn,
        )  # fmt: skip
    _report(path, begin)


@contextmanager
def _lasting() -> Iterator[None]:
    """What torch's modules make stays: to look through it for garbage, again and again, takes half a second."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _report(path: Path, begin: float) -> None:
    """The one line that a build prints."""
    manifest, written = _measure(path)
    print(
        f"{path}: {written:,} bytes, {manifest.target}, {manifest.dtype}, {manifest.parameters:,} parameters, "
        f"{time.perf_counter() - begin:.1f} s"
    )


def _measure(path: Path) -> tuple[Manifest, int]:
    """The manifest of what was written, and its size in bytes."""
    from archc.plan import Plan
    from archc.plan.manifest import parse_manifest

    if path.is_dir():
        manifest = parse_manifest((path / "manifest.json").read_bytes(), str(path))
        return manifest, sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    with Plan(path) as plan:
        return plan.manifest, path.stat().st_size
