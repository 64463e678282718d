"""Binds a spec to the sizes of a checkpoint: every expression becomes a number, and every layer a record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from archc.archspec.binding.evaluation import Evaluator, FailedError, varies
from archc.archspec.checking.checked_nodes import Form, Group, place_of
from archc.archspec.checking.checker import LAYER_NAMES
from archc.archspec.checking.expressions import ExpressionError
from archc.archspec.checking.rules import check_rules, weight_sets
from archc.archspec.config.reader import canonical_config, is_neutral
from archc.archspec.config.values import Values, evaluate_names, explain
from archc.archspec.errors import ConfigError, Problem, SpecError, clipped, did_you_mean, hints, listed, shown
from archc.archspec.source.expand_encoder import without_echoes
from archc.archspec.vocabulary import PER_LAYER, Embedding, Head, Layer, Learned, NoHead, NoPooler, Norm, Pooler, Prefix
from archc.archspec.vocabulary.verbs import Step
from archc.archspec.weights.resolve import BoundEntry, BoundWeights
from archc.archspec.weights.table import ENCODER_KEY, WeightTable

if TYPE_CHECKING:
    from archc.archspec.binding.spec import Assembled, Spec, Variant

_FAILED = object()


@dataclass(frozen=True)
class BoundSpec:
    """A spec in which every size is known; the compiler reads nothing else."""

    family: str
    description: str
    topology: Literal["decoder", "encoder", "encoder-decoder"]
    context: int
    embedding: Embedding
    layers: tuple[Layer, ...]
    final_norm: Norm
    head: Head
    pooler: Pooler
    prefix: Prefix | None
    encoder: BoundSpec | None  # of an encoder-decoder, whose own sections are the decoder's; its topology is `encoder`
    ties_encoder: bool  # whether the encoder's token table is the decoder's
    config: Mapping[str, Any]  # the value of every config name that was read, in JSON's types
    weights: BoundWeights
    text: str  # the spec as YAML that stands on its own
    size: str | None
    overrides: tuple[str, ...]

    @property
    def weight_sets(self) -> tuple[int, ...]:
        """The number of each layer's set of weights."""
        return weight_sets(self.layers)


def bind(spec: Spec, config: Mapping[str, Any] | None, size: str | None, source: str) -> BoundSpec:
    """What `Spec.bind` does; see there."""
    given, origin = _given(spec, config, size, source)
    unread = list(_unread_keys(spec, given, origin))
    faults: list[Problem] = []
    values = evaluate_names(spec.names, given, origin, spec.overrides.config, faults)
    problems: list[Problem] = []
    active = _active(spec, values, problems)
    parts = spec.assemble(active)
    by_layer = [index for index, variant in enumerate(spec.variants) if variant.per_layer]
    names = set(parts.names).union(*(spec.assemble(sorted([*active, index])).names for index in by_layer))
    names |= {name for variant in spec.variants for name in variant.when.names}
    read = spec.names.needed(names.difference(LAYER_NAMES))
    _check_missing(spec, read, values, origin, faults)
    problems += parts.problems
    bound = None
    if parts.model is not None:
        evaluator = Evaluator(values, problems)
        faulty = evaluator.find_faulty(parts.model, spec.names)
        faults = [fault for fault in faults if _is_needed(fault, spec, read, faulty)]
        bound = _bind_parts(spec, parts, evaluator, active)
    if unread or faults:
        raise ConfigError([*unread, *faults, *without_echoes(problems)])
    if problems or bound is None:
        raise SpecError(without_echoes(problems))
    kept = {
        name: _plain(values.values[name]) for name in values.values if name in read and name not in spec.names.derived
    }
    more: dict[str, Any] = {"config": kept, "text": spec.text, "size": size, "overrides": spec.override_texts}
    encoder = bound.pop("encoder")
    if encoder is not None:
        encoder = BoundSpec(spec.family, spec.description, **encoder, weights=bound["weights"], **more)
    return BoundSpec(spec.family, spec.description, **bound, encoder=encoder, **more)


def _given(
    spec: Spec, config: Mapping[str, Any] | None, size: str | None, source: str
) -> tuple[Mapping[str, Any], str]:
    """The config values to bind to, and what to call the place that they come from."""
    if config is not None and size is not None:
        raise ConfigError(
            [Problem(source, 0, 0, "", f"a config and the size {shown(size)} are both given; one is enough")]
        )
    if size is not None:
        if size not in spec.sizes:
            hint = hints(
                did_you_mean(size, spec.sizes), f"sizes: {listed(spec.sizes)}" if spec.sizes else "it has none"
            )
            raise ConfigError([Problem(spec.file, 0, 0, "sizes", f"there is no size {shown(size)}", hint)])
        return spec.sizes[size], f"size {size}"
    if config is None:
        return {}, source
    if not isinstance(config, Mapping):
        raise ConfigError([Problem(source, 0, 0, "", f"{shown(config)} where a mapping is expected")])
    return canonical_config(config, source), source


def _unread_keys(spec: Spec, given: Mapping[str, Any], origin: str, within: str = "") -> Iterator[Problem]:
    for name, value in given.items():
        key = f"{within}{name}"
        if spec.reads_config(key) or is_neutral(str(name), value):
            continue
        if isinstance(value, Mapping) and spec.reads_within(key):
            yield from _unread_keys(spec, value, origin, f"{key}.")
            continue
        near = did_you_mean(key, spec.read & spec.names.config.keys())
        hint = "add it to `config:` if it changes the computation, to `ignore_config:` if not"
        message = f"{shown(value)}: nothing in the spec '{spec.family}' reads this key"
        if key == "quantization_config":
            message, hint, near = (
                "the checkpoint is quantised",
                "use the checkpoint in float16, bfloat16 or float32",
                "",
            )
        yield Problem(origin, 0, 0, clipped(key), message, hints(near, hint))


def _active(spec: Spec, values: Values, problems: list[Problem]) -> list[int]:
    return [
        index
        for index, variant in enumerate(spec.variants)
        if not variant.per_layer and _holds(variant, values, problems, {}, None)
    ]


def _active_at(spec: Spec, values: Values, problems: list[Problem], layer: int, layers: int) -> Iterator[int]:
    """The variants with a condition on the layer that hold at one."""
    for index, variant in enumerate(spec.variants):
        if variant.per_layer and _holds(variant, values, problems, {"layer": layer, "layers": layers}, layer):
            yield index


def _holds(
    variant: Variant, values: Values, problems: list[Problem], more: Mapping[str, int], layer: int | None
) -> bool:
    names = variant.when.names
    if names & (values.missing | values.broken):
        return False
    try:
        holds = variant.when.evaluate({**values.values, **more})
    except ExpressionError as error:
        message = f"{shown(variant.when.text)}: {error} {explain(names, values, layer)}".rstrip()
        problems.append(variant.mark.problem(f"{variant.path}.when", message, error.hint))
        return False
    if holds is not None and not isinstance(holds, bool):
        message = f"{variant.when.text} = {shown(holds)} must be true or false {explain(names, values, layer)}".rstrip()
        problems.append(variant.mark.problem(f"{variant.path}.when", message))
        return False
    return bool(holds)


def _check_missing(spec: Spec, read: frozenset[str], values: Values, origin: str, faults: list[Problem]) -> None:
    for name, entry in spec.names.config.items():
        if entry.required and name in read and name in values.missing:
            also = f" (nor {listed(entry.keys[1:])})" if len(entry.keys) > 1 else ""
            hint = f"or name a size: {listed(spec.sizes)}" if spec.sizes and not origin.startswith("size ") else ""
            faults.append(Problem(origin, 0, 0, name, f"the key '{name}'{also} is missing", hint))


def _is_needed(fault: Problem, spec: Spec, read: frozenset[str], faulty: frozenset[str]) -> bool:
    """Whether a fault is of a value that the assembled spec reads, and is not itself caused by a faulty value."""
    name = fault.path.split(".")[1] if fault.path.startswith(("config.", "derive.")) else fault.path
    if name not in spec.names.config and name not in spec.names.derived:
        return True
    return name in read and (name in faulty or spec.names.needed([name]).isdisjoint(faulty))


def _bind_parts(spec: Spec, parts: Assembled, evaluator: Evaluator, active: Sequence[int]) -> dict[str, Any] | None:
    """Everything of a BoundSpec that is computed, or None after problems were reported."""
    model = parts.model
    assert model is not None
    problems = evaluator.problems
    encoder = model.fields.get("encoder")
    encoder_fields: dict[str, Any] | None = None
    if isinstance(encoder, Group):
        encoder_fields = _bind_stack(spec, encoder, evaluator, active, ("tie", "context", "embedding", "final_norm"))
    depth = evaluator.layers
    fields = _bind_stack(
        spec, model, evaluator, active, ("topology", "context", "embedding", "final_norm", "head", "pooler", "prefix")
    )
    weights = _bind_weights(spec, parts.weights, evaluator, depth) if fields is not None else None
    if problems or fields is None or (isinstance(encoder, Group) and encoder_fields is None):
        return None
    fields = {"topology": "decoder", "pooler": NoPooler(), "prefix": None, "ties_encoder": False, **fields}
    fields["encoder"] = None
    if encoder_fields is not None:
        fields["ties_encoder"] = encoder_fields.pop("tie", True)
        nothing = {"head": NoHead(), "pooler": NoPooler(), "prefix": None, "encoder": None, "ties_encoder": False}
        fields["encoder"] = {"topology": "encoder", **encoder_fields, **nothing}
    for path, message, hint in check_rules(fields):
        problems.append(place_of(model, path).problem(path, message, hint))
    if problems or weights is None:
        return None
    weights = replace(weights, sets=_sets(fields), encoder_sets=_sets(fields["encoder"]))
    return {**fields, "weights": weights}


def _bind_stack(
    spec: Spec, model: Group, evaluator: Evaluator, active: Sequence[int], names: Sequence[str]
) -> dict[str, Any] | None:
    """The named sections of one stack and its layers, or None after problems were reported."""
    fields = {name: _value(evaluator, model.fields[name]) for name in names if name in model.fields}
    count = _value(evaluator, _field(model, "layer.count"))
    layers = _bind_all_layers(spec, model, evaluator, active, count) if isinstance(count, int) else None
    if layers is None or any(value is _FAILED for value in fields.values()):
        return None
    fields["layers"] = tuple(_with_table(layer, fields["context"]) for layer in layers)
    return fields


def _value(evaluator: Evaluator, form: Form, layer: int | None = None) -> Any:
    """The value of a form, or _FAILED after a problem was reported."""
    try:
        return evaluator.evaluate(form, layer)
    except FailedError:
        return _FAILED


def _field(model: Group, path: str) -> Any:
    """The form at a path of the model's sections, or None where it is left to its default."""
    form: Form | None = model
    for key in path.split("."):
        form = form.fields.get(key) if isinstance(form, Group) else None
    return form


def _bind_all_layers(
    spec: Spec, model: Group, evaluator: Evaluator, active: Sequence[int], count: int
) -> list[Layer] | None:
    """Every layer, each from the sections that its own variants give."""
    evaluator.layers = count
    chosen: dict[tuple[int, ...], list[int]] = {}
    for layer in range(count if any(variant.per_layer for variant in spec.variants) else 0):
        more = _active_at(spec, evaluator.values, evaluator.problems, layer, count)
        chosen.setdefault(tuple(sorted([*active, *more])), []).append(layer)
    if not chosen:
        return _bind_layers(model, evaluator, range(count))
    layers: dict[int, Layer] = {}
    for variants, indices in chosen.items():
        parts = spec.assemble(variants)
        evaluator.problems += parts.problems
        stack = _field(parts.model, model.path) if parts.model is not None and model.path else parts.model
        bound = _bind_layers(stack, evaluator, indices) if stack is not None else None
        if bound is None:
            return None
        layers |= zip(indices, bound, strict=True)
    return [layers[index] for index in range(count)]


def _bind_layers(model: Group, evaluator: Evaluator, indices: Sequence[int]) -> list[Layer] | None:
    forms = {path.rpartition(".")[2]: _field(model, path) for path in PER_LAYER}
    forms = {name: form for name, form in forms.items() if form is not None}
    shared: dict[str, Any] = {}
    failed = False
    for name, form in forms.items():
        if not varies(form):
            shared[name] = _value(evaluator, form, 0)
            failed = failed or shared[name] is _FAILED
    changing = {name: form for name, form in forms.items() if varies(form)}
    layers: list[Layer] = []
    known: dict[tuple[Any, ...], Layer] = {}
    for index in indices:
        values = {name: _value(evaluator, form, index) for name, form in changing.items()}
        if failed or any(value is _FAILED for value in values.values()):
            failed = True
            continue
        key = tuple(values.values())
        if key not in known:
            known[key] = Layer(**shared, **values)
        layers.append(known[key])
    return None if failed else layers


def _with_table(layer: Layer, context: int) -> Layer:
    """The layer with the size of a table of learned positions written out."""
    position = layer.position
    if isinstance(position, Learned) and position.size is None:
        return layer.model_copy(update={"position": position.model_copy(update={"size": context})})
    return layer


def _bind_weights(spec: Spec, table: WeightTable, evaluator: Evaluator, encoder_layers: int) -> BoundWeights:
    entries: dict[str, BoundEntry] = {}
    decoder_layers = evaluator.layers
    for key, entry in (table.entries or {}).items():
        evaluator.layers = encoder_layers if key.startswith(ENCODER_KEY) else decoder_layers
        layers = range(evaluator.layers) if any(map(varies, entry.verbs)) else (0,)
        steps: list[tuple[Step, ...]] = []
        for layer in layers:
            values = [_value(evaluator, verb, layer) for verb in entry.verbs]
            steps.append(tuple(step for step in values if step is not _FAILED))
        entries[key] = BoundEntry(key, entry.names, entry.all_needed, tuple(steps), entry.mark)
    return BoundWeights(spec.file, table.prefixes, table.rename, table.ignore, entries)


def _sets(stack: Mapping[str, Any] | None) -> tuple[int, ...]:
    """The number of each layer's weights; empty where every layer has its own."""
    layers = stack["layers"] if stack is not None else ()
    return weight_sets(layers) if any(layer.weights is not None for layer in layers) else ()


def _plain(value: Any) -> Any:
    """The value in JSON's types, apart from the caller's."""
    return json.loads(json.dumps(value))
