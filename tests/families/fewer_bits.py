"""Families in fewer bits on the CPU: python -m tests.families.fewer_bits [family ...] prints how far each is off.

The cases' own matrices are narrower than a block of 4-bit integers, so their configs are widened, and the weights are
random: every build of a family has the same, and its own float32 build, which other tests hold against a reference, is
what they are compared with.
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
from archc.runtime.engine import Engine, load
from tests.families.built import Built, for_tiny_models
from tests.families.checks import append_all, beginning_with, inputs_of, outputs_of
from tests.families.collection import cases_of

TIMES = 8
# Keys of configs that say how wide something is, and words in them that say that they count something else.
_WIDTH = re.compile(r"size|dim|rank|width|d_model|d_kv|d_ff|n_embd|inner|ffn|hidden|head_k|head_v|channels|lora")
_COUNT = re.compile(
    r"vocab|type|window|layer|num|head(s|_count)|conv|act|function|norm|block|chunk|query_dim|ratio|mult|factor|position"
    r"|patch|expand"
)


class Form(NamedTuple):
    """A build in fewer bits, and the most that it may be off, as a part of the float32 outputs' root mean square.

    Rounding random weights to 4 bits changes every product by some 12 %; a layout that is wrong changes all of it.
    """

    quantize: str | None
    kv: str | None
    most: float


FORMS = (Form("int8", None, 0.2), Form("int4", None, 0.75), Form(None, "int8", 0.1))


class Wide(Built):
    """A family's first case, wider, with random weights."""

    def __init__(self, family: str, folder: Path) -> None:
        super().__init__(family, cases_of(family)[0], folder)

    @cached_property
    def bound(self) -> BoundSpec:
        """The spec with the widened sizes."""
        return load_spec(self.case.spec or self.family).bind(widened(read_config(self.checkpoint)))

    def in_form(self, form: Form) -> Engine:
        """The plan for the CPU in one form, loaded."""
        with (
            patch(
                "archc.compiler.lower.assemble", lambda _: {name: graph.clone() for name, graph in self.graphs.items()}
            ),
            patch("archc.compiler.build.bind", lambda *_: self.bound),
        ):
            out = self.folder / f"{form.quantize}.{form.kv}.plan"
            return load(build(self.family, random=1, out=out, quantize=form.quantize, kv=form.kv), threads=1)

    def forms(self) -> list[Form]:
        """What it can be built in: an encoder has no cache."""
        return [form for form in FORMS if self.is_decoder or form.kv is None]


def widened(config: Any, key: str = "") -> Any:
    """A config with its widths times TIMES and its counts as they are."""
    if isinstance(config, dict):
        return {name: widened(value, name) for name, value in config.items()}
    if isinstance(config, list):
        return [widened(value, key) for value in config]
    is_width = (
        isinstance(config, int) and not isinstance(config, bool) and _WIDTH.search(key) and not _COUNT.search(key)
    )
    return config * TIMES if is_width else config


def check_forms(wide: Wide) -> Iterator[tuple[Form, float]]:
    """How far each form is off. Raises AssertionError where that is too far, or steps differ from the whole."""
    plain = everything(wide, wide.in_form(Form(None, None, 0.0)))
    for form in wide.forms():
        engine = wide.in_form(form)
        bits = {tensor.dtype for tensor in engine.manifest.tensors} & {"int8", "uint8"}
        assert bool(bits) == (form.quantize is not None), "weights are quantised, and only where that was asked for"
        got = everything(wide, engine)
        off = max(distance(got[role], plain[role]) for role in plain)
        assert off < form.most, f"{form.quantize} {form.kv}: {off:.3f}"
        # In int8 the rows of a call share a scale; elsewhere each position is computed as if alone.
        if form.quantize != "int8" and "steps" in got and not wide.case.depends_on_calls:
            assert distance(got["steps"], got["logits"]) < 0.01
        yield form, off


def everything(wide: Wide, engine: Engine) -> dict[str, NDArray[np.float32]]:
    """All outputs for whole prompts, and the logits of the same prompts in steps; closes the engine."""
    wide.__dict__["engine"] = engine
    ids, types, source = inputs_of(wide)
    outputs = dict(outputs_of(wide, ids, types, source))
    if wide.is_decoder:
        sizes = beginning_with(len(wide.case.lead), [wide.case.length - 3, 1, 2])
        outputs["steps"] = append_all(engine.sequences(2, 4, source), ids, sizes)
    engine.close()
    return outputs


def distance(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """The root mean square of the difference, as a part of what was wanted."""
    return float(np.sqrt(((got - wanted) ** 2).mean() / (wanted**2).mean()))


def main(families: list[str]) -> int:
    """Prints a line a family; 1 where one is too far off."""
    for_tiny_models()
    failed = 0
    for family in families or shipped():
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = " ".join(
                    f"{form.quantize or form.kv} {off:.3f}" for form, off in check_forms(Wide(family, Path(folder)))
                )
            except Exception as error:
                failed, found = 1, f"**fails** {type(error).__name__}: {error}"
        print(f"{family:16} {found}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
