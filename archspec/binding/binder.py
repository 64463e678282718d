"""Binding of a checked spec to a config: values, variants, layers, weight table, and the rules for the model."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from archc.archspec.assembly.checked_spec import Assembled, CheckedSpec
from archc.archspec.binding.bound_spec import BoundSpec
from archc.archspec.binding.evaluation import FAILED, EvaluationError, Evaluator, varies_by_layer
from archc.archspec.binding.layers import active_variants, bind_stack
from archc.archspec.binding.unread import unread_keys
from archc.archspec.checking.checked_nodes import CheckedSection, mark_at
from archc.archspec.checking.functions import ExpressionError
from archc.archspec.checking.model_rules import check_rules
from archc.archspec.config.ignored_keys import without_keys
from archc.archspec.config.rope_settings import canonical_config
from archc.archspec.config.task_classes import HEADS_OF_CLASSES
from archc.archspec.config.text_part import is_multimodal, text_part
from archc.archspec.config.values import Values, evaluate_names
from archc.archspec.errors import (
    ConfigError,
    Problem,
    SpecError,
    clip,
    did_you_mean,
    format_list,
    format_value,
    join_hints,
)
from archc.archspec.source.encoder_defaults import drop_inherited_problems
from archc.archspec.vocabulary import LmHead, MlmHead, NoHead, NoPooler, Text, weight_sets
from archc.archspec.vocabulary.verbs import Step
from archc.archspec.weights.bound_table import BoundEntry
from archc.archspec.weights.entries import ENCODER_KEY, Entry, entry_path
from archc.archspec.weights.resolve import BoundWeights
from archc.archspec.weights.table import WeightTable

_MODEL_KEYS = ("topology", "direction", "context", "embedding", "final_norm", "head", "pooler", "prefix", "text")
_ENCODER_KEYS = ("tie", "context", "embedding", "final_norm")


def bind(
    spec: CheckedSpec,
    config: Mapping[str, Any] | None,
    size: str | None,
    source: str,
    ignore_config: Sequence[str] = (),
) -> BoundSpec:
    """Return the spec with all sizes known.

    `config` is the content of a config.json, named `source` in messages; `size` is the name of one of the spec's sizes.
    `ignore_config` lists keys of the config, or patterns with `*`, that count as absent.
    Raises ConfigError for a config with missing or unknown keys, SpecError for values that contradict each other.
    """
    is_part = isinstance(config, Mapping) and is_multimodal(config)
    config = text_part(config) if isinstance(config, Mapping) else config
    if config is not None and ignore_config:
        config = without_keys(config, ignore_config, source)
    bound_config, origin = _select_config(spec, config, size, source)
    config_problems: list[Problem] = []
    values = evaluate_names(spec.names, bound_config, origin, spec.overrides.config, config_problems)
    problems: list[Problem] = []
    evaluator = Evaluator(values, problems)
    active = active_variants(spec, evaluator)
    assembled = spec.assemble(active)
    read = _names_read(spec, assembled, active)
    missing = list(_missing_keys(spec, read, values, origin))
    if missing and config is None and size is None:
        missing = [_missing_sizes(spec, [problem.path for problem in missing])]
    config_problems += missing
    problems += assembled.problems
    fields = None
    if assembled.model is not None:
        invalid = evaluator.find_invalid_values(assembled.model, spec.names)
        config_problems = [problem for problem in config_problems if _is_relevant(problem, spec, read, invalid)]
        fields = _bind_model(spec, assembled, evaluator, active)
    unread = list(_unread_keys(spec, bound_config, origin, fields))
    if unread or config_problems:
        raise ConfigError([*unread, *config_problems, *drop_inherited_problems(problems)])
    if problems or fields is None:
        raise SpecError(drop_inherited_problems(problems))
    config_values = {
        name: _to_json_types(value)
        for name, value in values.values.items()
        if name in read and name not in spec.names.derived
    }
    fields["weights"] = replace(fields["weights"], is_part=is_part)
    common: dict[str, Any] = {
        "family": spec.family,
        "description": spec.description,
        "config": config_values,
        "text": spec.text,
        "text_settings": fields.pop("text", Text()),
        "size": size,
        "overrides": spec.override_texts,
    }
    encoder = fields.pop("encoder")
    if encoder is not None:
        encoder = BoundSpec(**encoder, weights=fields["weights"], **common)
    return BoundSpec(**fields, encoder=encoder, **common)


def _select_config(
    spec: CheckedSpec, config: Mapping[str, Any] | None, size: str | None, source: str
) -> tuple[Mapping[str, Any], str]:
    """Return the config values to bind to, and the name of their origin in messages."""
    if config is not None and size is not None:
        message = f"a config and the size {format_value(size)} cannot be combined"
        raise ConfigError([Problem(source, 0, 0, "", message, "pass one of them")])
    if size is not None:
        if size not in spec.sizes:
            sizes = f"sizes: {format_list(spec.sizes)}" if spec.sizes else "the spec has no sizes"
            hint = join_hints(did_you_mean(size, spec.sizes), sizes)
            raise ConfigError([Problem(spec.file, 0, 0, "sizes", f"size {format_value(size)} not found", hint)])
        return spec.sizes[size], f"size {size}"
    if config is None:
        return {}, source
    if not isinstance(config, Mapping):
        raise ConfigError([Problem(source, 0, 0, "", f"expected a mapping, got {format_value(config)}")])
    return canonical_config(config, source), source


def _unread_keys(
    spec: CheckedSpec, config: Mapping[str, Any], origin: str, model: Mapping[str, Any] | None
) -> Iterator[Problem]:
    """Yield a problem for each key of the config that may affect the computation and that the spec does not read."""
    for key, value in unread_keys(spec, config, model):
        message = f"the spec '{spec.family}' does not read this key (value {format_value(value)})"
        candidate = did_you_mean(key, spec.read & spec.names.config.keys())
        hint = f"if it does not affect the computation, add --ignore-config {shlex.quote(key)}"
        hint = join_hints(candidate, f"{hint}, or list it under `ignore_config:`")
        yield Problem(origin, 0, 0, clip(key), message, hint)


def _names_read(spec: CheckedSpec, assembled: Assembled, active: Sequence[int]) -> frozenset[str]:
    """Return the names that the assembled spec, its per-layer variants and all conditions read."""
    names = set(assembled.names)
    for index, variant in enumerate(spec.variants):
        names |= variant.when.names
        if variant.per_layer:
            indices = [each for each in spec.with_base(index) if spec.variants[each].per_layer]
            names |= spec.assemble(sorted({*active, *indices})).names
    return spec.names.closure(names)


def _missing_keys(spec: CheckedSpec, read: frozenset[str], values: Values, origin: str) -> Iterator[Problem]:
    for name, entry in spec.names.config.items():
        if entry.required and name in read and name in values.missing:
            aliases = f" (or {format_list(entry.keys[1:])})" if len(entry.keys) > 1 else ""
            has_other_sizes = spec.sizes and not origin.startswith("size ")
            sizes = f"or use a size: {format_list(spec.sizes)}" if has_other_sizes else ""
            hint = join_hints("set it in the config", sizes)
            yield Problem(origin, 0, 0, name, f"missing key '{name}'{aliases}", hint)


def _missing_sizes(spec: CheckedSpec, names: Sequence[str]) -> Problem:
    """Return the problem of a spec that is bound to nothing and has no default for these names."""
    hint = f"choose a size: {format_list(spec.sizes)}" if spec.sizes else "use a checkpoint's config.json"
    return Problem(spec.file, 0, 0, "", f"no default for {format_list(names)}", hint)


def _is_relevant(problem: Problem, spec: CheckedSpec, read: frozenset[str], invalid: frozenset[str]) -> bool:
    """Return whether a problem concerns a value that is read, and has no other invalid value as its cause.

    A value that is not allowed is a problem although nothing else reads the name.
    """
    path = problem.path
    name = path.split(".")[1] if path.startswith(("config.", "derive.")) else path
    if name not in spec.names.config and name not in spec.names.derived:
        return True
    if path == name and name in spec.names.config and spec.names.config[name].allowed and name not in read:
        return True
    return name in read and (name in invalid or spec.names.closure([name]).isdisjoint(invalid))


def _bind_model(
    spec: CheckedSpec, assembled: Assembled, evaluator: Evaluator, active: Sequence[int]
) -> dict[str, Any] | None:
    """Return the computed fields of a BoundSpec, `encoder` as a dict of such fields; None after reporting problems."""
    model = assembled.model
    assert model is not None
    problems = evaluator.problems
    encoder_section = model.fields.get("encoder")
    encoder: dict[str, Any] | None = None
    if isinstance(encoder_section, CheckedSection):
        encoder = bind_stack(spec, encoder_section, evaluator, active, _ENCODER_KEYS)
    encoder_layers = evaluator.layers
    fields = bind_stack(spec, model, evaluator, active, _MODEL_KEYS)
    weights = _bind_weights(spec, assembled.weights, evaluator, encoder_layers) if fields is not None else None
    if problems or fields is None or (isinstance(encoder_section, CheckedSection) and encoder is None):
        return None
    fields = {
        "topology": "decoder",
        "direction": None,
        "pooler": NoPooler(),
        "prefix": None,
        "ties_encoder": False,
        "encoder": None,
        **fields,
    }
    if encoder is not None:
        fields["ties_encoder"] = encoder.pop("tie", True)
        absent = {
            "direction": None,
            "head": NoHead(),
            "pooler": NoPooler(),
            "prefix": None,
            "encoder": None,
            "ties_encoder": False,
        }
        fields["encoder"] = {"topology": "encoder", **encoder, **absent}
    for path, message, hint in check_rules(fields):
        problems.append(mark_at(model, path).problem(path, message, hint))
    problems += _missing_heads(spec, fields, evaluator.values.values.get("architectures"))
    if problems or weights is None:
        return None
    weights = replace(weights, sets=_shared_sets(fields), encoder_sets=_shared_sets(fields["encoder"]))
    return {**fields, "weights": weights}


def _missing_heads(spec: CheckedSpec, fields: Mapping[str, Any], architectures: object) -> Iterator[Problem]:
    """Yield a problem if config.json names a class with a head of classes, and the spec's head predicts tokens."""
    name = architectures[0] if isinstance(architectures, list | tuple) and architectures else None
    if isinstance(name, str) and name.endswith(HEADS_OF_CLASSES) and isinstance(fields["head"], LmHead | MlmHead):
        message = f"config.json names the class {clip(name)}, and the head predicts tokens"
        hint = "add a variant with `head: {kind: classes}`, as specs/tasks/decoder.yaml has"
        yield Problem(spec.file, 0, 0, "head", message, hint)


def _bind_weights(spec: CheckedSpec, table: WeightTable, evaluator: Evaluator, encoder_layers: int) -> BoundWeights:
    """Return the weight table with sizes evaluated, per layer if they vary."""
    entries: dict[str, BoundEntry] = {}
    decoder_layers = evaluator.layers
    for key, entry in table.entries.items():
        evaluator.layers = encoder_layers if key.startswith(ENCODER_KEY) else decoder_layers
        bound, *others = [_bind_entry(each, evaluator) for each in entry.alternatives]
        entries[key] = replace(bound, others=tuple(others))
    ignore: list[str] = []
    for pattern in table.ignore:
        try:
            ignore += pattern.patterns(evaluator.values.values)
        except ExpressionError as error:
            message = f"{format_value(pattern.text)}: {error}"
            evaluator.problems.append(Problem(spec.file, 0, 0, "weights.ignore", message, error.hint))
    return BoundWeights(spec.file, table.prefixes, table.rename, tuple(ignore), entries)


def _bind_entry(entry: Entry, evaluator: Evaluator) -> BoundEntry:
    layers = range(evaluator.layers) if any(map(varies_by_layer, entry.verbs)) else (0,)
    steps: list[tuple[Step, ...]] = []
    for layer in layers:
        values = [evaluator.try_evaluate(verb, layer) for verb in entry.verbs]
        steps.append(tuple(step for step in values if step is not FAILED))
    names = tuple(_with_values(name, entry, evaluator) for name in entry.names)
    by_layer = {field: _texts_by_layer(field, entry, evaluator) for field in sorted(_fields_by_layer(entry, evaluator))}
    return BoundEntry(entry.key, names, entry.reads_all, tuple(steps), entry.mark, by_layer=by_layer)


def _fields_by_layer(entry: Entry, evaluator: Evaluator) -> frozenset[str]:
    """Return the names in braces that have a value for each layer."""
    return frozenset(entry.fields & evaluator.values.per_layer.keys())


def _texts_by_layer(field: str, entry: Entry, evaluator: Evaluator) -> tuple[str, ...]:
    """Return the value of a name at each layer as text; fewer after reporting a problem."""
    try:
        values = [evaluator.name_at(layer, field) for layer in range(evaluator.layers)]
    except EvaluationError:
        return ()
    texts: list[str] = []
    for value in values:
        text = _as_text(field, value, entry, evaluator)
        if text is None:
            break
        texts.append(text)
    return tuple(texts)


def _as_text(field: str, value: object, entry: Entry, evaluator: Evaluator) -> str | None:
    """Return a value as a part of a name of a tensor; None after reporting another value."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    message = f"{field} = {format_value(value)} is no part of a name of a tensor"
    evaluator.problems.append(entry.mark.problem(entry_path(entry.key), message, "use text or an integer"))
    return None


def _with_values(name: str, entry: Entry, evaluator: Evaluator) -> str:
    """Return a checkpoint name with the values of the config in place of their names in braces."""
    for field in sorted(entry.fields - _fields_by_layer(entry, evaluator) - evaluator.values.missing):
        text = _as_text(field, evaluator.values.values.get(field), entry, evaluator)
        name = name if text is None else name.replace(f"{{{field}}}", text)
    return name


def _shared_sets(stack: Mapping[str, Any] | None) -> tuple[int, ...]:
    """Return the index of each layer's weight set; empty if no layer has another layer's index."""
    layers = stack["layers"] if stack is not None else ()
    return weight_sets(layers) if any(layer.weights is not None for layer in layers) else ()


def _to_json_types(value: Any) -> Any:
    """Return a copy of the value in JSON types, independent of the caller's objects."""
    return json.loads(json.dumps(value))
