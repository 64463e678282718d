"""Every family on the GPU against its reference: whole sequences, steps through the cache, and greedy tokens."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt.devices import device_capability
from archc.compiler.output.tensorrt.package import PACKAGES
from archc.compiler.output.tensorrt.sections import EngineOptions
from archc.proof.built import Built, use_one_thread
from archc.proof.case import Case, Ids, Outputs
from archc.proof.checks import TOLERANCE, inputs_of, reference_outputs
from archc.runtime import EngineError
from archc.runtime.engine import Engine, load
from tests.families.collection import cases_of
from tests.families.router_margins import rows_with_clear_routing

# Largest difference relative to the largest number of the reference. A float16 has 11 significand bits and a bfloat16
# has 8, so one unit in the last place is eight times as large.
RELATIVE = {"float16": 2e-2, "bfloat16": 16e-2}
_BATCH = 2
_NEW = 8


@dataclass(frozen=True)
class Row:
    """One family on one target in one dtype: the largest difference, or the reason for its absence."""

    family: str
    target: str
    dtype: str
    worst: float = float("nan")
    limit: float = float("nan")
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Return whether the plan was built, ran, and is within the limit."""
        return not self.problem and self.worst <= self.limit


@dataclass
class Prepared:
    """One family's case: its plans by target and dtype, and the reference's outputs for the same ids."""

    family: str
    case: Case | None = None
    ids: Ids = ()
    types: Ids | None = None
    source: Ids | None = None
    reference: Outputs = field(default_factory=dict)
    plans: dict[tuple[str, str], Path] = field(default_factory=dict)
    refusals: dict[tuple[str, str], str] = field(default_factory=dict)
    problem: str = ""


def prepare(family: str, targets: Sequence[str], dtypes: Sequence[str], folder: Path) -> Prepared:
    """Build the plans of a family's first case and run its reference; runs in a child process, on the CPU."""
    use_one_thread()
    prepared = Prepared(family)
    try:
        case = cases_of(family)[0]
        built = Built(family, case, folder)
        ids, types, source = inputs_of(built)
        ids, source, _ = rows_with_clear_routing(built, ids, source)
        outputs = reference_outputs(built, ids, types, source)
        prepared = Prepared(
            family, None, ids, types, source, {role: np.asarray(value) for role, value in outputs.items()}
        )
        prepared.case = replace(case, make=_no_reference)
        for target in targets:
            for dtype in dtypes:
                out = folder / f"{target}-{dtype}.plan"
                options = {"engine": engine_options(target, _BATCH)} if target.startswith("tensorrt") else {}
                try:
                    build(built.spec, built.checkpoint, out=out, target=target, dtype=dtype, **options)
                    prepared.plans[target, dtype] = out
                except BuildError as error:
                    prepared.refusals[target, dtype] = str(error)
    except Exception:  # an error of one family is reported in its row
        prepared.problem = traceback.format_exc().strip().splitlines()[-1]
    return prepared


def engine_options(target: str, batch: int = 1) -> EngineOptions:
    """Return options that build an engine for the present GPU only, if the target can build for others too."""
    capability = device_capability() if PACKAGES[target].ahead_of_time else None
    return EngineOptions(max_batch_size=batch, compute_capabilities=(capability,) if capability is not None else ())


def _no_reference() -> None:
    raise AssertionError("the reference is not sent between processes")


def check(
    prepared: Prepared, targets: Sequence[str], dtypes: Sequence[str], cuda_graph: bool | None = None
) -> Iterator[Row]:
    """Run the plans of one family; a row for each target and dtype."""
    for target in targets:
        for dtype in dtypes:
            row = Row(prepared.family, target, dtype)
            if prepared.problem:
                yield Row(**{**vars(row), "problem": prepared.problem})
            elif refusal := prepared.refusals.get((target, dtype)):
                yield Row(**{**vars(row), "problem": refusal.splitlines()[0]})
            else:
                yield _measured(row, prepared, prepared.plans[target, dtype], cuda_graph)


def _measured(row: Row, prepared: Prepared, plan: Path, cuda_graph: bool | None) -> Row:
    scale = max(float(np.abs(value).max()) for value in prepared.reference.values())
    limit = TOLERANCE if row.dtype == "float32" else RELATIVE[row.dtype] * scale
    try:
        engine = load(plan, threads=1, cuda_graph=cuda_graph)
        try:
            worst = max(
                float(np.abs(values.astype(np.float64) - prepared.reference[role]).max(initial=0))
                for role, values in _outputs(engine, prepared)
            )
            _check_greedy(engine, prepared)
        finally:
            engine.close()
    except (EngineError, AssertionError) as error:
        return Row(**{**vars(row), "limit": limit, "problem": str(error).splitlines()[0]})
    return Row(**{**vars(row), "worst": worst, "limit": limit})


def _outputs(engine: Engine, prepared: Prepared) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Whole sequences; then, where there is a cache, a prompt and single tokens."""
    ids, types, source = prepared.ids, prepared.types, prepared.source
    roles = set(prepared.reference)
    if source is not None:
        yield "logits", engine.logits(source, types, ids)
        yield "hidden_states", engine.encode(source)
        roles = {"logits"}
    elif engine.manifest.topology == "encoder":
        calls = {
            "logits": engine.logits,
            "hidden_states": engine.encode,
            "pooled": engine.pooled,
            "classes": engine.classify,
        }
        for role in roles:
            yield role, calls[role](ids, types)
        return
    else:
        yield "logits", engine.logits(ids)
    assert prepared.case is not None
    if not prepared.case.depends_on_calls:
        yield "logits", _in_steps(engine, ids, source, prepared.case.length - 4)


def _in_steps(engine: Engine, ids: Ids, source: Ids | None, first: int) -> NDArray[np.float32]:
    tokens = np.array(ids)
    sequences = engine.sequences(len(tokens), source=source) if source is not None else engine.sequences(len(tokens))
    parts = [tokens[:, :first], *(tokens[:, at : at + 1] for at in range(first, tokens.shape[1]))]
    logits = [sequences.append(part, logits="all") for part in parts]
    return np.concatenate([part for part in logits if part is not None], axis=1)


def _check_greedy(engine: Engine, prepared: Prepared) -> None:
    """Check that the tokens chosen on the device are the argmax of the same logits on the host."""
    if engine.manifest.topology == "encoder":
        return
    ids, source = prepared.ids, prepared.source
    prompt = ids if source is None else source
    options = {} if source is None else {"decoder_ids": ids}
    generated = engine.generate(prompt, _NEW, ignore_eos=True, **options)
    sequences = engine.sequences(len(ids), source=source) if source is not None else engine.sequences(len(ids))
    logits, never = sequences.append(np.array(ids)), list(engine.manifest.tokens.never)
    for step in range(_NEW):
        assert logits is not None
        logits[:, never] = -np.inf
        for row, line in enumerate(logits):
            # Two runs of one sum may round differently, so either token of a near tie is correct.
            gap = line.max() - line[generated[row][step]]
            assert gap <= 1e-2 * np.abs(line[np.isfinite(line)]).max(), (
                f"step {step} of row {row} is not the most likely token"
            )
        logits = sequences.append(np.array([[line[step]] for line in generated]))
