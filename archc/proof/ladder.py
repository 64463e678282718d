"""The ladder of proof of one spec: each check with its figure."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from archc.archspec import Spec, load_spec
from archc.compiler.build import bind, build
from archc.compiler.modules.model import meta_model
from archc.compiler.structure.model import structure
from archc.compiler.weights.checkpoint.containers import read_checkpoint_config
from archc.compiler.weights.checkpoint.folder import local_source
from archc.compiler.weights.checkpoint.module_weights import open_checkpoint
from archc.compiler.weights.checkpoint.names import map_checkpoint
from archc.error import Error
from archc.proof import checks
from archc.proof.built import Built
from archc.proof.case import Case, Reference
from archc.proof.failure import require
from archc.proof.graph_rules import check_graph
from archc.proof.tiny import tiny_sizes

_LENGTH = 13
_NO_CLASS = (
    "transformers has no class of match.architectures, so archc is compared with itself, on random weights without "
    "biases; write a reference in tests/reference for the rest"
)


@dataclass(frozen=True)
class Step:
    """One check: `figure` is its result, or the reason of its failure; `ok` is None if it was not made."""

    name: str
    ok: bool | None
    figure: str


def climb(spec_file: str, weights: Path | None, changes: Mapping[str, Any]) -> Iterator[Step]:
    """Yield the checks of a spec in order; after a failure that the next ones depend on, no more.

    `changes` are values of the tiny config in place of the chosen ones. Raises ArchspecError for an invalid spec.
    """
    spec = load_spec(spec_file)
    sizes = [spec.bind(size=size) for size in spec.sizes]
    yield Step("check", True, f"valid, bound at {len(sizes)} sizes")
    if weights is not None:
        yield _step("checkpoint", partial(_fill, spec_file, weights))
    with tempfile.TemporaryDirectory() as folder:
        found = find_class(spec)
        if found is None:
            yield Step("reference", None, _NO_CLASS)
            yield from _without_class(spec, spec_file, changes, Path(folder))
        else:
            yield from _with_class(spec, spec_file, found, changes, Path(folder))


def find_class(spec: Spec) -> tuple[str, Any] | None:
    """Return the first class of `match.architectures` in transformers, and its config class; None without one."""
    try:
        import transformers
    except ImportError:
        return None
    untyped: Any = transformers.logging
    untyped.set_verbosity_error()
    untyped.disable_progress_bar()
    for name in spec.raw.header.architectures:
        model = getattr(transformers, name, None)
        if getattr(model, "config_class", None) is not None:
            return name, model.config_class  # type: ignore[union-attr]
    return None


def _with_class(
    spec: Spec, spec_file: str, found: tuple[str, Any], changes: Mapping[str, Any], folder: Path
) -> Iterator[Step]:
    from archc.proof.built import use_one_thread
    from archc.proof.from_transformers import FromTransformers, Indexed, make
    from archc.proof.random_weights import fill_zero_buffers
    from archc.proof.sensitivity import weak_fields

    use_one_thread()
    name, config_class = found
    sizes = {**tiny_sizes(config_class().to_dict()), **changes}
    try:
        config = config_class(**sizes)
        is_indexed = "indexed_attention" in (getattr(config, "layer_types", None) or ())
        made = make(name, config, 1, kind=Indexed if is_indexed else FromTransformers)
        fill_zero_buffers(made.model, 1)
        reference = cast(Reference, made)  # a decoder or an encoder alone reads no source
    except Exception as error:  # a class may raise anything for sizes that do not fit each other
        reason = str(error).partition("\n")[0]
        yield Step("reference", False, f"{name} refuses the tiny sizes ({reason}); change them with --config KEY=VALUE")
        return
    bound = next((spec.bind(size=size) for size in spec.sizes), None)
    topology = bound.topology if bound is not None else "decoder"
    case = Case("tiny", lambda: reference, length=_LENGTH, spec=str(Path(spec_file).resolve()), topology=topology)
    if topology == "encoder-decoder":
        yield Step("reference", None, "an encoder-decoder requires a reference file in tests/reference")
        return
    built = Built(spec.family, case, folder)
    yield Step("reference", True, f"{reference.provenance}, {reference.parameters:,} random parameters")
    first = _step("slots", lambda: _exact(checks.check_slots(built), "every tensor fills slots once"))
    yield first
    if not first.ok:
        return
    yield _step("parameters", lambda: _exact(checks.check_parameters(built), f"{reference.parameters:,}, equal"))
    yield _step("torch", lambda: _within(checks.check_torch(built)))
    yield _step("plan", lambda: _within(checks.check_plan(built)))
    yield _step("portable", lambda: _within(checks.check_portable(built)))
    if built.is_decoder:
        yield _step("cache", lambda: _within(checks.check_cache(built)))
    yield _step("ragged", lambda: _within(checks.check_ragged(built)))
    yield _step("graph", lambda: _rules(built.portable))
    yield _step("sensitivity", lambda: _sensitive(weak_fields(built)))
    built.close()


def _without_class(spec: Spec, spec_file: str, changes: Mapping[str, Any], folder: Path) -> Iterator[Step]:
    """Yield the checks that compare archc with itself, on random weights."""
    required = {name: 0 for name, entry in spec.names.config.items() if name in spec.read and entry.required}
    stated = {
        name: entry.default for name, entry in spec.names.config.items() if isinstance(entry.default, int | float)
    }
    sizes = {name: value for name, value in tiny_sizes({**stated, **required}).items() if value is not None}
    overrides = [f"{name}={value}" for name, value in {**sizes, **changes}.items()]

    def built(target: str) -> Path:
        return build(spec_file, random=1, target=target, out=folder / target, overrides=overrides, warn=lambda _: None)

    yield _step("graph", lambda: _rules(built("onnx")))
    if spec.bind(size=next(iter(spec.sizes))).topology == "decoder" if spec.sizes else True:
        yield _step("cache", lambda: _within(_cache_alone(built("ort-cpu"))))


def _cache_alone(plan: Path) -> float:
    """Return the largest difference of logits of single tokens from those of the whole row."""
    from archc.runtime.engine import load

    with closing(load(plan, threads=1)) as engine:
        ids = np.random.default_rng(0).integers(0, 50, (1, _LENGTH)).tolist()
        whole = engine.logits(ids)[0]
        return checks.difference(checks.append_all(engine.sequences(1), ids, [1] * _LENGTH)[0], whole)


def _step(name: str, check: Callable[[], str]) -> Step:
    try:
        return Step(name, True, check())
    except (AssertionError, Error) as error:
        return Step(name, False, str(error) or "an assertion of the check does not hold")


def _fill(spec_file: str, weights: Path) -> str:
    source = local_source(weights)
    bound = bind(spec_file, read_checkpoint_config(source.folder), None, (), (), source)
    model = meta_model(bound)
    map_checkpoint(bound, model, open_checkpoint(bound, source.folder), source.folder)
    return f"every tensor has its slot, {structure(bound).parameters:,} parameters"


def _exact(_: float, text: str) -> str:
    return text


def _within(gap: float) -> str:
    text = f"largest difference {gap:.1e}"
    require(gap < checks.TOLERANCE, f"{text}, past {checks.TOLERANCE}")
    return text


def _rules(folder: Path) -> str:
    files = sorted(folder.glob("*.onnx"))
    for path in files:
        check_graph(path)
    return f"standard operators, {len(files)} graphs"


def _sensitive(weak: Mapping[str, float]) -> str:
    rows = "; ".join(f"{where}: {gap:.1e}" for where, gap in weak.items())
    require(not weak, f"changes that do not show ({rows}); the reference needs other sizes, or gains on its parameters")
    return "every changed number and choice shows"
