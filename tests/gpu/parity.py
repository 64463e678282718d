"""Every family on the GPU against its reference: whole sequences, steps through the cache, and greedy tokens."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt.devices import device_capability
from archc.compiler.output.tensorrt.package import PACKAGES
from archc.compiler.output.tensorrt.sections import EngineOptions
from archc.runtime import EngineError
from archc.runtime.engine import Engine, load
from tests.families.built import Built, for_tiny_models
from tests.families.case import Case, Ids, Outputs
from tests.families.checks import TOLERANCE, expected, inputs_of
from tests.families.collection import cases_of
from tests.families.decided import decided_rows

# The largest difference over the largest number of the reference. A float16 has 11 bits and a bfloat16 has 8: the same
# number of units in the last place are eight times as much.
RELATIVE = {"float16": 2e-2, "bfloat16": 16e-2}
_BATCH = 2
_NEW = 8


@dataclass(frozen=True)
class Row:
    """One family on one target in one dtype: the largest difference, or why there is none."""

    family: str
    target: str
    dtype: str
    worst: float = float("nan")
    limit: float = float("nan")
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether it was built and ran, and came close enough."""
        return not self.problem and self.worst <= self.limit


@dataclass
class Prepared:
    """One family's case: its plans by target and dtype, and what the reference makes of the same ids."""

    family: str
    case: Case | None = None
    ids: Ids = ()
    types: Ids | None = None
    source: Ids | None = None
    wanted: Outputs = field(default_factory=dict)
    plans: dict[tuple[str, str], Path] = field(default_factory=dict)
    refusals: dict[tuple[str, str], str] = field(default_factory=dict)
    problem: str = ""


def prepare(family: str, targets: Sequence[str], dtypes: Sequence[str], folder: Path) -> Prepared:
    """Build the plans of a family's first case and ask its reference; runs in a process of its own, on the CPU."""
    for_tiny_models()
    prepared = Prepared(family)
    try:
        case = cases_of(family)[0]
        built = Built(family, case, folder)
        ids, types, source = inputs_of(built)
        ids, _ = decided_rows(built, ids)
        wanted = expected(built, ids, types, source)
        prepared = Prepared(
            family, None, ids, types, source, {role: np.asarray(value) for role, value in wanted.items()}
        )
        prepared.case = Case(case.name, make=_no_reference, length=case.length, depends_on_calls=case.depends_on_calls,
                             topology=case.topology)  # fmt: skip
        for target in targets:
            for dtype in dtypes:
                out = folder / f"{target}-{dtype}.plan"
                options = {"engine": engine_options(target, _BATCH)} if target.startswith("tensorrt") else {}
                try:
                    build(built.spec, built.checkpoint, out=out, target=target, dtype=dtype, **options)
                    prepared.plans[target, dtype] = out
                except BuildError as error:
                    prepared.refusals[target, dtype] = str(error)
    except Exception:  # what is wrong with one family is its row's matter
        prepared.problem = traceback.format_exc().strip().splitlines()[-1]
    return prepared


def engine_options(target: str, batch: int = 1) -> EngineOptions:
    """An engine for the GPU here alone, where the target can build for others too."""
    here = device_capability() if PACKAGES[target].ahead_of_time else None
    return EngineOptions(max_batch_size=batch, compute_capabilities=(here,) if here is not None else ())


def _no_reference() -> None:
    raise AssertionError("the reference stays in the process that made it")


def check(
    prepared: Prepared, targets: Sequence[str], dtypes: Sequence[str], cuda_graph: bool | None = None
) -> Iterator[Row]:
    """Run the plans of one family; a row for each target and dtype."""
    for target in targets:
        for dtype in dtypes:
            row = Row(prepared.family, target, dtype)
            if prepared.problem:
                yield Row(**{**vars(row), "problem": prepared.problem})
            elif said := prepared.refusals.get((target, dtype)):
                yield Row(**{**vars(row), "problem": said.splitlines()[0]})
            else:
                yield _measured(row, prepared, prepared.plans[target, dtype], cuda_graph)


def _measured(row: Row, prepared: Prepared, plan: Path, cuda_graph: bool | None) -> Row:
    scale = max(float(np.abs(value).max()) for value in prepared.wanted.values())
    limit = TOLERANCE if row.dtype == "float32" else RELATIVE[row.dtype] * scale
    try:
        engine = load(plan, threads=1, cuda_graph=cuda_graph)
        try:
            worst = max(
                float(np.abs(got.astype(np.float64) - prepared.wanted[role]).max(initial=0))
                for role, got in _outputs(engine, prepared)
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
    roles = set(prepared.wanted)
    if source is not None:
        yield "logits", engine.logits(source, types, ids)
        yield "hidden_states", engine.encode(source)
        roles = {"logits"}
    elif engine.manifest.topology == "encoder":
        calls = {"logits": engine.logits, "hidden_states": engine.encode, "pooled": engine.pooled}
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
    found = [sequences.append(part, logits="all") for part in parts]
    return np.concatenate([part for part in found if part is not None], axis=1)


def _check_greedy(engine: Engine, prepared: Prepared) -> None:
    """The tokens that the device chooses are those that the host would choose of the same logits."""
    if engine.manifest.topology == "encoder":
        return
    ids, source = prepared.ids, prepared.source
    prompt = ids if source is None else source
    options = {} if source is None else {"decoder_ids": ids}
    written = engine.generate(prompt, _NEW, ignore_eos=True, **options)
    sequences = engine.sequences(len(ids), source=source) if source is not None else engine.sequences(len(ids))
    logits, never = sequences.append(np.array(ids)), list(engine.manifest.tokens.never)
    for step in range(_NEW):
        assert logits is not None
        logits[:, never] = -np.inf
        for row, line in enumerate(logits):
            # Two runs of one sum may round differently, so a near tie is not told apart.
            gap = line.max() - line[written[row][step]]
            assert gap <= 1e-2 * np.abs(line[np.isfinite(line)]).max(), f"step {step} of row {row} is not the likeliest"
        logits = sequences.append(np.array([[line[step]] for line in written]))
