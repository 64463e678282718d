"""The table of builds for each target: python -m tests.families.targets_table [--write | --forms] [family ...].

Prints the table, or writes it to docs/targets.md; with names, for those families alone. With --forms, the engines of
every other dtype and quantization instead, a line each.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from archc.archspec.source.catalog import shipped
from archc.compiler.contract.inputs_outputs import DTYPES
from archc.compiler.modules.model import meta_model
from archc.compiler.targets import TARGETS
from archc.compiler.tracing.stitch import assemble
from tests.families import targets
from tests.families.built import Built, for_tiny_models
from tests.families.collection import cases_of
from tests.families.decided import LEAD

FORMS = [("float32", None), ("bfloat16", None), *(("float16", bits) for bits in ("int8", "int4", "fp8"))]
FAILS = "**fails**"
OUT = Path(__file__).parent.parent.parent / "docs" / "targets.md"
HEAD = """# Targets

{targets}

This page lists the builds that succeed on a machine without a GPU: the first tiny case of every family, in float16.
The GPU targets are experimental; `docs/gpu.md` lists what has been run on which hardware.

- **graph**: the portable graph has only allowed operators, opset and types, explicit masks, and an in-place cache.
  **float16**: it runs in plain ONNX Runtime on the CPU; the largest difference from the float32 reference, relative to
  the output's largest value (a test fails at {tolerance:g}). Prompts on which two router scores are within {lead:g} of
  each other are excluded and counted as undecided, because rounding may select either expert.
- **tensorrt-rtx**: TensorRT for RTX {version} parses and builds it, with profiles for prompts and for single tokens,
  for compute capabilities 8.6, 8.9 and 12.0; seconds of the whole build (without tracing), and the engine's bytes. Its
  attention layers, read back from the parsed network, have a mask and no causal flag. TensorRT itself cannot build
  without a GPU; its parser and API are nearly the same.
- **CUDA kernels**: ONNX Runtime 1.31.1 has a CUDA kernel for every node of the `ort-cuda` graph, with its types.

Written by `python -m tests.families.targets_table --write`.

| family | case | graph | float16 | tensorrt-rtx s | bytes | CUDA kernels |
|---|---|---|---|---|---|---|
"""


def main(arguments: list[str]) -> int:
    """Prints or writes the table; 1 where a check fails."""
    import tensorrt_rtx

    for_tiny_models()
    families = [argument for argument in arguments if not argument.startswith("--")] or list(shipped())
    if "--forms" in arguments:
        return int(sum(print_forms(family) for family in families) > 0)
    listed = "\n".join(
        f"- `{target.name}`: {target.description}; {', '.join(target.dtypes)}" for target in TARGETS.values()
    )
    text = HEAD.format(targets=listed, tolerance=targets.HALF_TOLERANCE, lead=LEAD, version=tensorrt_rtx.__version__)
    text += "".join(row(family) for family in families)
    if "--write" in arguments:
        OUT.write_text(text, "utf-8")
    else:
        print(text, end="")
    return int(FAILS in text)


def row(family: str) -> str:
    """A family's line."""
    case = cases_of(family)[0]
    with tempfile.TemporaryDirectory() as folder:
        built = Built(family, case, Path(folder))
        engines: list[targets.EngineResult] = []
        cells = [
            family,
            case.name,
            cell(lambda: targets.check_rules(built)),
            cell(lambda: half(built)),
            cell(lambda: engines.append(targets.check_engine(built)) or f"{engines[0].seconds:.1f}"),
            f"{engines[0].bytes:,}" if engines else "",
            cell(lambda: targets.check_cuda(built)),
        ]
    print(family, file=sys.stderr)
    return f"| {' | '.join(cells)} |\n"


def print_forms(family: str) -> int:
    """Prints whether the engines of a family build in each form that the table is not about; how many do not."""
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        built = Built(family, cases_of(family)[0], Path(folder))
        for dtype, quantize in FORMS:

            def size(dtype: str = dtype, quantize: str | None = quantize) -> str:
                half = dtype == "float16"
                graphs = built.half_graphs if half else assemble(meta_model(built.bound, DTYPES[dtype]))
                plan = built.build_from(graphs, "engine.plan", "tensorrt-rtx", dtype, quantize)
                return f"{plan.stat().st_size:,} bytes"

            said = cell(size)
            failures += said == FAILS
            print(f"{family:16} {dtype:8} {quantize or '':4} {said}", flush=True)
    return failures


def half(built: Built) -> str:
    """Return the difference of float16, and the number of undecided prompts."""
    gap, undecided = targets.check_half(built)
    return f"{gap:.0e}" + (f", {undecided} undecided" if undecided else "")


def cell(check: Callable[[], str | None]) -> str:
    """A check's result in a word."""
    try:
        return check() or "all"
    except Exception as error:
        reason = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")
        print(reason[:600], file=sys.stderr)
        return FAILS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
