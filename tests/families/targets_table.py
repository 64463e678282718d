"""The table of builds for GPU targets: python -m tests.families.targets_table [--write | --forms] [family ...].

It is printed, or written to docs/targets.md; with names, it has those families only. With --forms, each family's
engines in the other dtypes and quantizations are built instead, and a line is printed for each.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from archc.archspec.source.catalog import shipped
from archc.compiler.contract.dtypes import TORCH_DTYPES
from archc.compiler.modules.model import meta_model
from archc.compiler.targets import TARGETS
from archc.compiler.tracing.stitch import assemble
from archc.proof.built import Built, use_one_thread
from tests.families import targets
from tests.families.collection import cases_of
from tests.families.pages import put, with_rows
from tests.families.router_margins import MARGIN

FORMS = [("float32", None), ("bfloat16", None), *(("float16", bits) for bits in ("int8", "int4", "fp8"))]
FAILS = "**fails**"
OUT = Path(__file__).parent.parent.parent / "docs" / "targets.md"
HEAD = """# Targets

{targets}

## Opsets

Folders are opened by other versions of ONNX Runtime than archc's own. `python benchmarks/opsets.py` calls the graphs of
qwen2, gpt2, mixtral, deepseek-v2, gemma3, t5, bert, rwkv6, mamba and qwen3-5 in older ones, from 1.16.3 to 1.25.1, and
compares the outputs with those of 1.32.0: they differ by 2e-5 at most.

| target | opset, IR | oldest ONNX Runtime | other runtimes |
|---|---|---|---|
| `onnx-hf` | 20, 9 | 1.17 | those of docs/runtimes.md, with their versions |
| `onnx-hf`, int4 | 20, 9 | 1.17; 1.18 rounds activations, and its logits differ by 0.3 | likewise |
| `onnx-hf`, int8 | 20, 9 | 1.22; 1.20 has no kernel of 8 bits | likewise |
| `onnx` | 24, 11 | 1.25, the first with a kernel of TensorScatter | TensorRT for RTX 1.7.1, as below |
| `onnx`, without a KV cache (bert, rwkv6, mamba) | 24, 11 | 1.24 | likewise |

The portable graph has opset 24, because its caches are updated in place by TensorScatter. An opset below 20 would add
the versions of ONNX Runtime before 2024, and no other runtime.

## Builds

The hardware that plans have run on is listed in docs/gpu.md. The table lists the builds that succeed on a machine
without a GPU: the first tiny case of every family, in float16.

- **graph**: the portable graph has only allowed operators, opsets and types, explicit masks, and a cache that is
  updated in place. **float16**: it runs in plain ONNX Runtime on the CPU; the number is the largest difference from the
  float32 reference, relative to the output's largest number (a test fails at {tolerance:g}). Prompts for which the
  scores of two experts are within {margin:g} of each other are left out and counted as undecided, because rounding may
  choose either.
- **tensorrt-rtx**: TensorRT for RTX {version} parses and builds it, with profiles for prompts and for single tokens,
  for compute capabilities 8.6, 8.9 and 12.0; seconds of the build without tracing, and the engine's size. Its attention
  layers, read back from the parsed network, have a mask and no causal flag. TensorRT itself cannot build without a GPU;
  its parser and API are nearly the same.
- **CUDA kernels**: ONNX Runtime 1.31.1 has a CUDA kernel for every node of the graph for `ort-cuda` and its types.

Written by `python -m tests.families.targets_table --write`.

| family | case | graph | float16 | tensorrt-rtx s | bytes | CUDA kernels |
|---|---|---|---|---|---|---|
"""


def main(arguments: list[str]) -> int:
    """Print or write the table; return 1 if a check fails."""
    import tensorrt_rtx

    use_one_thread()
    names = [argument for argument in arguments if not argument.startswith("--")]
    families = names or list(shipped())
    if "--forms" in arguments:
        return int(sum(print_forms(family) for family in families) > 0)
    rows = [row(family) for family in families]
    if names and "--write" in arguments:
        put(OUT, with_rows(OUT.read_text("utf-8"), rows), arguments)
        return int(any(FAILS in row for row in rows))
    listed = "\n".join(
        f"- `{target.name}`: {target.description}; {', '.join(target.dtypes)}" for target in TARGETS.values()
    )
    text = HEAD.format(
        targets=listed, tolerance=targets.FLOAT16_TOLERANCE, margin=MARGIN, version=tensorrt_rtx.__version__
    )
    text += "".join(rows)
    put(OUT, text, arguments)
    return int(FAILS in text)


def row(family: str) -> str:
    """Return the line of a family."""
    case = cases_of(family)[0]
    with tempfile.TemporaryDirectory() as folder:
        built = Built(family, case, Path(folder))
        engines: list[targets.EngineResult] = []
        cells = [
            family,
            case.name,
            cell(lambda: targets.check_rules(built)),
            cell(lambda: float16_error(built)),
            cell(lambda: engines.append(targets.check_engine(built)) or f"{engines[0].seconds:.1f}"),
            f"{engines[0].bytes:,}" if engines else "",
            cell(lambda: targets.check_cuda(built)),
        ]
    print(family, file=sys.stderr)
    return f"| {' | '.join(cells)} |\n"


def print_forms(family: str) -> int:
    """Print the result of a family's build in each form that the table leaves out; return the number of failures."""
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        built = Built(family, cases_of(family)[0], Path(folder))
        for dtype, quantize in FORMS:

            def size(dtype: str = dtype, quantize: str | None = quantize) -> str:
                is_float16 = dtype == "float16"
                graphs = built.float16_graphs if is_float16 else assemble(meta_model(built.bound, TORCH_DTYPES[dtype]))
                plan = built.build_from(graphs, "engine.plan", "tensorrt-rtx", dtype, quantize)
                return f"{plan.stat().st_size:,} bytes"

            result = cell(size)
            failures += result == FAILS
            print(f"{family:16} {dtype:8} {quantize or '':4} {result}", flush=True)
    return failures


def float16_error(built: Built) -> str:
    """Return the error of float16, and the number of prompts left out."""
    error, undecided = targets.check_float16(built)
    return f"{error:.0e}" + (f", {undecided} undecided" if undecided else "")


def cell(check: Callable[[], str | None]) -> str:
    """Return a check's result in a word."""
    try:
        return check() or "all"
    except Exception as error:
        reason = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")
        print(reason[:600], file=sys.stderr)
        return FAILS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
