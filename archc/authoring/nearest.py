"""The shipped spec that explains a config and its tensors best."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from archc.archspec import ArchspecError, BoundSpec, Spec, load_spec
from archc.archspec.binding.unread import unread_keys
from archc.archspec.checking.expressions import Expression
from archc.archspec.config.neutral_keys import is_off
from archc.archspec.config.text_part import is_multimodal
from archc.archspec.config.values import value_at
from archc.archspec.source.catalog import shipped
from archc.archspec.source.nodes import ScalarNode
from archc.archspec.weights.bound_table import generic_key
from archc.authoring.stored_names import table_endings
from archc.authoring.subject import Subject
from archc.compiler.errors import BuildError

_BOUND = 16  # specs that are bound and compared with the tensors: those that read the most keys
_HEAD = re.compile(r"For[A-Z]\w*$")


@dataclass(frozen=True)
class StoredTensors:
    """Tensors of a checkpoint that differ in the numbers of their names alone."""

    pattern: str
    shape: tuple[int, ...]
    count: int


@dataclass(frozen=True)
class Fit:
    """A shipped spec against a config: all that it does not explain."""

    name: str
    spec: Spec
    unread: Mapping[str, Any]  # keys of the config
    missing: tuple[str, ...]  # keys that the spec requires
    assumed: int  # names with a default that has an effect, which the config does not contain
    bound: BoundSpec | None = None
    faults: tuple[str, ...] = ()  # of binding, without the unread keys
    tensors: tuple[StoredTensors, ...] = ()  # not read
    unfilled: tuple[str, ...] = ()  # slots without a tensor, those of all layers as one
    unknown: int = 0  # endings of tensors that are not in the table, and of the table that no tensor has
    kind_differs: bool = False

    @property
    def unexplained(self) -> int:
        """Return the number of faults: keys, endings of tensors, and refusals of binding.

        Tensors count by their endings, so that a spec that cannot be bound compares with one that can, and another
        name of the list of layers is not a fault of every tensor.
        """
        return len(self.unread) + len(self.missing) + len(self.faults) + self.unknown + 2 * self.kind_differs


@cache
def load_shipped() -> Mapping[str, Spec]:
    """Return the shipped specs by name; a faulty one is left out, `archc list` names its fault."""
    specs = {}
    for name in shipped():
        try:
            specs[name] = load_spec(name)
        except ArchspecError:
            continue
    return specs


def find_nearest(subject: Subject, specs: Mapping[str, Spec]) -> Fit:
    """Return the spec with the fewest faults; of equals, the one with the most similar model type."""
    order = _Order(subject, specs)
    first = sorted((_read_keys(name, spec, subject) for name, spec in specs.items()), key=order)
    return min((_bind(fit, subject) for fit in first[:_BOUND]), key=order)


def measure(name: str, spec: Spec, subject: Subject) -> Fit:
    """Return one spec against the config and the tensors."""
    return _bind(_read_keys(name, spec, subject), subject)


def _read_keys(name: str, spec: Spec, subject: Subject) -> Fit:
    unread = dict(unread_keys(spec, subject.keys, None))
    entries = [entry for name, entry in spec.names.config.items() if name in spec.read]
    absent = [entry for entry in entries if all(value_at(subject.keys, key) is None for key in entry.keys)]
    heads = {match[0] for name in spec.raw.header.architectures if (match := _HEAD.search(name))}
    own = {match[0] for name in subject.architectures if (match := _HEAD.search(name))}
    missing = tuple(entry.name for entry in absent if entry.required)
    assumed = sum(not isinstance(entry.default, Expression) and not is_off(entry.default) for entry in absent)
    kind_differs = bool(heads and own and not heads & own)
    return Fit(name, spec, unread, missing, assumed, unknown=_count_unknown(spec, subject), kind_differs=kind_differs)


def _count_unknown(spec: Spec, subject: Subject) -> int:
    """Return the number of endings that either the checkpoint or the weight table of a spec lacks."""
    if not subject.endings:
        return 0
    table = table_endings(spec.raw.weights)
    known = frozenset[str]().union(*table.values())
    absent = sum(not _stores(subject.endings, endings) for endings in table.values())
    return absent + sum(not _stores(known, {end}) for end in subject.endings)


def _stores(names: Collection[str], endings: Collection[str]) -> bool:
    """Return whether a name is one of the endings, or a tensor of the module that an ending names."""
    return any(f"{name}.".startswith(f"{end}.") or end.startswith(f"{name}.") for name in names for end in endings)


def _bind(fit: Fit, subject: Subject) -> Fit:
    """Return the fit with the bound spec, the faults of binding, and the tensors that it does not read."""
    try:
        bound = fit.spec.bind(subject.keys, source=subject.place, ignore_config=list(fit.unread))
    except ArchspecError as error:
        faults = [str(item) for item in error.problems if item.path not in fit.missing]
        return replace(fit, faults=tuple(faults) or (() if fit.missing else (str(error),)))
    # The keys are those of the text model alone; its checkpoint may have tensors of other parts.
    bound = replace(bound, weights=replace(bound.weights, is_part=is_multimodal(subject.config)))
    encoder = vars(bound.encoder) if bound.encoder is not None else None
    model = {**vars(bound), "encoder": encoder}
    fit = replace(fit, bound=bound, unread=dict(unread_keys(fit.spec, subject.keys, model)))
    return _compare_tensors(fit, bound, subject)


def _compare_tensors(fit: Fit, bound: BoundSpec, subject: Subject) -> Fit:
    if subject.folder is None or not bound.weights.entries:
        return fit
    from archc.authoring.patterns import group_tensors
    from archc.compiler.modules.model import meta_model
    from archc.compiler.weights.checkpoint.containers import open_weights
    from archc.compiler.weights.checkpoint.survey import survey_checkpoint

    try:
        survey = survey_checkpoint(bound, meta_model(bound), subject.folder)
    except BuildError as error:
        return replace(fit, faults=(*fit.faults, str(error)))
    groups = group_tensors(open_weights(subject.folder), survey.uses)
    tensors = tuple(StoredTensors(item.pattern, item.shape, item.count) for item in groups if item.use == "unread")
    return replace(fit, tensors=tensors, unfilled=tuple(dict.fromkeys(map(generic_key, survey.unfilled))))


class _Order:
    """The key by which fits sort, best first.

    A model type of the same lineage, such as `olmo3` and `olmo2`, counts as much as two faults; of equals, the spec
    that most others extend is first.
    """

    def __init__(self, subject: Subject, specs: Mapping[str, Spec]) -> None:
        self.model_type = subject.model_type
        parents = (spec.raw.tree.get("extends") for spec in specs.values())
        self.children = Counter(node.value for node in parents if isinstance(node, ScalarNode))

    def __call__(self, fit: Fit) -> tuple[int, int, float, str]:
        types = fit.spec.model_types or (fit.name,)
        similar = max(difflib.SequenceMatcher(None, self.model_type, other).ratio() for other in types)
        related = any(_lineage(other) == _lineage(self.model_type) for other in types)
        return fit.unexplained + fit.assumed - 2 * related, -self.children[fit.name], -similar, fit.name


def _lineage(model_type: str) -> str:
    """Return the letters before the version of a model type."""
    return re.split(r"[\d_.-]", model_type, maxsplit=1)[0]
