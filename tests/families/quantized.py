"""Quantized builds of families for the CPU: python -m tests.families.quantized [family ...] prints their errors.

The matrices of the cases are narrower than one block of int4 weights, so their configs are widened and the weights are
random. Every build of a family has the same weights and is compared with the float32 build, which other tests compare
with a reference.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from archc.archspec import BoundSpec, load_spec, read_config
from archc.archspec.source.catalog import shipped
from archc.compiler.build import build
from archc.compiler.modules.basic.head import NEVER
from archc.proof.built import Built, copied, open_session, use_one_thread
from archc.proof.checks import append_all, inputs_of, plan_outputs, with_first_call_of
from archc.runtime.engine import Engine, load
from tests.families.collection import cases_of
from tests.families.optimum import run_calls

TIMES = 8
# Keys of configs for widths, and words in such keys that make them counts instead.
_WIDTH = re.compile(r"size|dim|rank|width|d_model|d_kv|d_ff|n_embd|inner|ffn|hidden|head_k|head_v|channels|lora")
_COUNT = re.compile(
    r"vocab|type|window|layer|num|head(s|_count)|conv|act|function|norm|block|chunk|query_dim|ratio|mult|factor|position"
    r"|patch|expand|ngram"
)


class QuantCase(NamedTuple):
    """One way to quantize a build, and its largest allowed error relative to the RMS of the float32 outputs.

    Rounding random weights to 4 bits changes every product by about 12 %; a wrong layout changes all of it.
    """

    quantize: str | None
    kv: str | None
    max_error: float

    @property
    def name(self) -> str:
        """Return the name in the printed table."""
        return self.quantize or f"kv {self.kv}"


QUANT_CASES = (QuantCase("int8", None, 0.2), QuantCase("int4", None, 0.75), QuantCase(None, "int8", 0.1))
# Gemma 4 has an error of 0.61, for its norms of values have no weights. Here the vectors of layers are one more product
# of quantized ones; a wrong layout has 1.4, that of outputs that have nothing to do with each other.
_AMPLIFIED = {"embedding-gemma2": {"int4": 0.9}}
_FLOAT32 = QuantCase(None, None, 0.0)


class WideFamily(Built):
    """A family's first case with widened matrices and random weights."""

    def __init__(self, family: str, folder: Path) -> None:
        super().__init__(family, cases_of(family)[0], folder)

    @cached_property
    def bound(self) -> BoundSpec:
        """The spec with the widened sizes."""
        return load_spec(self.case.spec or self.family).bind(widened(read_config(self.checkpoint)))

    def load_quantized(self, case: QuantCase) -> Engine:
        """Build and load a plan for the CPU."""
        return load(self.build_quantized(f"{case.quantize}.{case.kv}.plan", case), threads=1)

    def build_quantized(self, name: str, case: QuantCase, target: str = "ort-cpu") -> Path:
        """Build for a target with the random weights of all builds."""
        graphs = self.graphs
        with patch("archc.compiler.build.bind", lambda *_: self.bound):
            return build(
                self.family,
                random=1,
                out=self.folder / name,
                target=target,
                quantize=case.quantize,
                kv=case.kv,
                trace=lambda _: copied(graphs),
            )

    def quant_cases(self) -> list[QuantCase]:
        """Return the cases that apply: an encoder has no cache to quantize."""
        limits = _AMPLIFIED.get(self.family, {})
        cases = [case for case in QUANT_CASES if self.is_decoder or case.kv is None]
        return [case._replace(max_error=limits.get(case.name, case.max_error)) for case in cases]


def widened(config: Any, key: str = "") -> Any:
    """Return a config with its widths times TIMES and its counts unchanged."""
    if isinstance(config, dict):
        return {name: widened(value, name) for name, value in config.items()}
    if isinstance(config, list):
        return [widened(value, key) for value in config]
    is_width = (
        isinstance(config, int) and not isinstance(config, bool) and _WIDTH.search(key) and not _COUNT.search(key)
    )
    return config * TIMES if is_width else config


def check_quantized(family: WideFamily) -> Iterator[tuple[QuantCase, float]]:
    """Yield the error of each case; AssertionError if it is too large or if steps differ from the whole."""
    exact = all_outputs(family, family.load_quantized(_FLOAT32))
    for case in family.quant_cases():
        engine = family.load_quantized(case)
        integers = {tensor.dtype for tensor in engine.manifest.tensors} & {"int8", "uint8"}
        assert bool(integers) == (case.quantize is not None), "integer weights only where --quantize asks for them"
        outputs = all_outputs(family, engine)
        error = max(relative_rms(outputs[role], exact[role]) for role in exact)
        assert error < case.max_error, f"{case.name}: {error:.3f}"
        # Under int8 the rows of a call share one scale; otherwise each position is independent of its call.
        if case.quantize != "int8" and "steps" in outputs and not family.case.depends_on_calls:
            assert relative_rms(outputs["steps"], outputs["logits"]) < 0.01
        yield case, error


def check_optimum(family: WideFamily) -> Iterator[tuple[QuantCase, float]]:
    """Yield the error of each case in the layout of Optimum, in plain ONNX Runtime, with a cache."""
    exact = all_outputs(family, family.load_quantized(_FLOAT32))
    ids, _, _ = inputs_of(family)
    rows = np.array(ids)
    sizes = [family.case.length - 2, 1, 1] if family.is_decoder else [family.case.length]
    for case in family.quant_cases():
        if case.kv is None:
            folder = family.build_quantized(f"optimum-{case.quantize}", case, "onnx-hf")
            calls = run_calls(open_session(folder / "model.onnx"), rows, np.ones_like(rows), sizes)
            error = relative_rms(np.concatenate(calls, axis=1), exact["logits"])
            assert error < case.max_error, f"{case.name}: {error:.3f}"
            yield case, error


def all_outputs(family: WideFamily, engine: Engine) -> dict[str, NDArray[np.float32]]:
    """Return all outputs for whole prompts, and the logits of the same prompts in steps; close the engine."""
    family.__dict__["engine"] = engine
    ids, types, source = inputs_of(family)
    outputs = dict(plan_outputs(family, ids, types, source))
    if family.is_decoder:
        sizes = with_first_call_of(len(family.case.lead), [family.case.length - 3, 1, 2])
        outputs["steps"] = append_all(engine.sequences(2, 4, source), ids, sizes)
    engine.close()
    return outputs


def relative_rms(values: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the root mean square of the difference, relative to that of the expected values.

    Logits of tokens that are never predicted do not count.
    """
    counted = expected != NEVER
    return float(np.sqrt(((values - expected)[counted] ** 2).mean() / (expected[counted] ** 2).mean()))


def main(families: list[str]) -> int:
    """Print a line for each family; return 1 if an error is too large."""
    use_one_thread()
    failed = 0
    for family in families or shipped():
        with tempfile.TemporaryDirectory() as folder:
            try:
                errors = check_quantized(WideFamily(family, Path(folder)))
                line = " ".join(f"{case.name} {error:.3f}" for case, error in errors)
            except Exception as error:
                failed, line = 1, f"**fails** {type(error).__name__}: {error}"
        print(f"{family:16} {line}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
