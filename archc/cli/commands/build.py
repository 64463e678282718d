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

from archc.cli.commands.options import Adapters, IgnoreConfig, Set, Size, Spec
from archc.cli.completion import choices
from archc.cli.console import UsageError, folder_bytes, note, progress_bar, warn

if TYPE_CHECKING:
    from archc.plan import Manifest


# Those of `archc.compiler.targets`, which help and completion do not import.
_TARGETS = ("ort-cpu", "ort-cuda", "tensorrt", "tensorrt-rtx", "onnx", "onnx-hf")
_DTYPES = ("float32", "float16", "bfloat16")
_QUANTIZATIONS = ("int8", "int4", "fp8")


def build_command(
    spec: Spec,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="DIR|FILE|HUB_ID",
            help="Checkpoint folder, GGUF file, file of weights, or owner/name[@revision][:FILE.gguf] on the hub.",
        ),
    ] = None,
    size: Size = None,
    random: Annotated[
        int | None, typer.Option("--random", min=0, metavar="SEED", help="Random weights instead of a checkpoint.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Output path. Default: engine.plan, or the folder engine-onnx. Replaces only outputs of archc.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            "--target",
            metavar="|".join(_TARGETS),
            autocompletion=choices(*_TARGETS),
            help="See `archc list --targets`.",
        ),
    ] = "ort-cpu",
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            metavar="|".join(_DTYPES),
            autocompletion=choices(*_DTYPES),
            help="Compute dtype. Default: float32 (ort-cpu, onnx), float16 (GPU targets).",
            show_default=False,
        ),
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option(
            "--quantize",
            metavar="|".join(_QUANTIZATIONS),
            autocompletion=choices(*_QUANTIZATIONS),
            help="Weight quantization: int8, int4, or fp8 (TensorRT only).",
        ),
    ] = None,
    kv: Annotated[
        str | None, typer.Option("--kv", metavar="int8", help="KV cache quantization (ort-cpu only).")
    ] = None,
    max_seq_len: Annotated[
        int | None,
        typer.Option("--max-seq-len", min=1, metavar="N", help="Maximum sequence length. Default: the context length."),
    ] = None,
    max_batch_size: Annotated[
        int, typer.Option("--max-batch-size", min=1, metavar="N", help="Maximum batch size (TensorRT).")
    ] = 1,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(
            "--compute-capability", metavar="X.Y", help="Compute capability to build for (tensorrt-rtx). Repeatable."
        ),
    ] = None,
    weight_streaming: Annotated[
        bool, typer.Option("--weight-streaming", help="Allow streaming weights from host memory (TensorRT).")
    ] = False,
    timing_cache: Annotated[
        Path | None,
        typer.Option("--timing-cache", metavar="FILE", help="Timing cache to read and update (tensorrt)."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option("--tokenizer", metavar="DIR|FILE", help="Tokenizer in place of the checkpoint's own."),
    ] = None,
    keep_graph: Annotated[
        bool, typer.Option("--keep-graph", help="Store graph and weights with the engine, to rebuild it elsewhere.")
    ] = False,
    overrides: Set = None,
    ignore_config: IgnoreConfig = None,
    adapters: Adapters = None,
) -> None:
    """Build a plan from a spec and a checkpoint, or rebuild the engine of a plan that stores its graph.

    Prints one line: path, bytes, target, dtype, parameters, seconds. An existing output is replaced only if archc wrote
    it, and is unchanged after any error.
    """
    begin = time.perf_counter()
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with _collector_paused():
        from archc.compiler.build import build
        from archc.compiler.output.tensorrt.plan import is_plan, rebuild
        from archc.compiler.output.tensorrt.sections import EngineOptions
        from archc.compiler.targets import TARGETS
        from archc.compiler.weights.checkpoint.folder import is_checkpoint

    engine = EngineOptions(max_batch_size, tuple(compute_capability or ()), weight_streaming, timing_cache, keep_graph)
    if is_plan(spec) and not is_checkpoint(spec):
        fixed = {
            "--weights": weights,
            "--random": random,
            "--size": size,
            "--dtype": dtype,
            "--quantize": quantize,
            "--kv": kv,
            "--max-seq-len": max_seq_len,
            "--tokenizer": tokenizer,
            "--set": overrides,
            "--ignore-config": ignore_config,
            "--adapter": adapters,
        }
        for option, value in fixed.items():
            if value is not None:
                raise UsageError(f"{option} has no effect on a plan, which has its graph and weights; remove it")
        with progress_bar(of_bytes=True) as bar:
            path = rebuild(Path(spec), out or Path(spec), target, engine, bar)
        _report(path, begin)
        return
    is_folder = target in TARGETS and TARGETS[target].folder
    place = out or Path("engine-onnx" if is_folder else "engine.plan")
    with progress_bar(of_bytes=True) as bar:
        announced = False

        def progress(name: str, done: int, total: int) -> None:
            nonlocal announced
            if not announced:
                note(f"writing {total:,} bytes of weights to {place}")
                announced = True
            bar(name, done, total)

        path = build(
            spec,
            weights,
            out=place,
            target=target,
            dtype=dtype,
            quantize=quantize,
            kv=kv,
            size=size,
            random=random,
            max_seq_len=max_seq_len,
            engine=engine,
            tokenizer=tokenizer,
            overrides=overrides or (),
            ignore_config=ignore_config or (),
            adapters=adapters or (),
            progress=progress,
            warn=warn,
        )
    _report(path, begin)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause garbage collection: scanning the objects of torch's modules, which all stay, takes half a second."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _report(path: Path, begin: float) -> None:
    manifest, size = _measure(path)
    print(
        f"{path}: {size:,} bytes, {manifest.target}, {manifest.dtype}, {manifest.parameters:,} parameters, "
        f"{time.perf_counter() - begin:.1f} s"
    )


def _measure(path: Path) -> tuple[Manifest, int]:
    """Return the manifest of a plan or an ONNX folder, and its size in bytes."""
    from archc.plan import Plan
    from archc.plan.ownership import folder_manifest

    if path.is_dir():
        return folder_manifest(path), folder_bytes(path)
    with Plan(path) as plan:
        return plan.manifest, path.stat().st_size
