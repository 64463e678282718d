"""Rotary settings of config.json in one spelling.

Two spellings exist:

    before transformers 5   rope_theta, partial_rotary_factor, rope_scaling: {type | rope_type, ...}
    since transformers 5    rope_parameters: {rope_type, rope_theta, partial_rotary_factor, ...}

Specs read `rope_theta`, `partial_rotary_factor` and `rope_scaling`; the last is null or a mapping with a `kind` of the
vocabulary. If `rope_parameters` has one mapping per type of layer, it stays, and each mapping has these three keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from archc.archspec.checking.functions import MAX_INTEGER
from archc.archspec.config.layer_settings import with_layer_settings
from archc.archspec.errors import (
    ConfigError,
    Problem,
    clip,
    did_you_mean,
    format_list,
    format_value,
    join_hints,
)
from archc.archspec.vocabulary import Rope
from archc.archspec.vocabulary.schema import SectionSchema, keys_of

MAX_DEPTH = 32

# mrope and xdrope have an axis of positions each for time, height and width; they are equal for text.
_KIND_ALIASES = {"default": "none", "su": "longrope", "mrope": "none", "xdrope": "dynamic"}
_OF_PICTURES = ("mrope_section", "mrope_interleaved", "xdrope_section")
_MOVED_KEYS = ("rope_theta", "partial_rotary_factor")  # inside rope_parameters, next to rope_scaling
# Of the factor on queries that grows with their position (Mistral 3), and the length of the extended context.
_OF_QUERIES = "llama_4_scaling_beta"
_OF_CONTEXT = "max_position_embeddings"
_KEEP_ONE = "both have the same meaning; keep one"


def canonical_config(config: Mapping[str, Any], file: str) -> dict[str, Any]:
    """Return the config with rotary settings in one spelling. Raises ConfigError if the two spellings disagree."""
    problems = [
        Problem(file, 0, 0, "", f"expected text as a key, got {format_value(key)}")
        for key in config
        if not isinstance(key, str)
    ]
    problems += _invalid_values(config, file)
    if problems:
        raise ConfigError(problems)
    result = dict(config)
    parameters = result.get("rope_parameters")
    if parameters is not None and not isinstance(parameters, Mapping):
        message = f"expected a mapping, got {format_value(parameters)}"
        raise ConfigError([Problem(file, 0, 0, "rope_parameters", message)])
    scaling = result.get("rope_scaling")
    if parameters and any(isinstance(value, Mapping) for value in parameters.values()):
        result["rope_parameters"] = _by_layer_type(parameters, result, file, problems)
        parameters = None
    if parameters is not None:
        result.pop("rope_parameters")
        result["rope_scaling"] = _from_parameters(dict(parameters), result, file, problems)
        if scaling is not None and not problems:
            _compare_scalings(result["rope_scaling"], scaling, result, file, problems)
    elif scaling is not None:
        result["rope_scaling"] = _canonical_scaling(scaling, "rope_scaling", result, file, problems)
    if problems:
        raise ConfigError(problems)
    return with_layer_settings(result, file)


def _from_parameters(
    parameters: dict[str, Any], result: dict[str, Any], file: str, problems: list[Problem]
) -> dict[str, Any] | None:
    """Move theta and fraction of `rope_parameters` to the top level; return its scaling."""
    parameters.pop(_OF_CONTEXT, None)
    for key in (*_MOVED_KEYS, _OF_QUERIES):
        inner, outer = parameters.pop(key, None), result.get(key)
        if inner is not None and outer is not None and inner != outer:
            message = f"rope_parameters.{key} is {format_value(inner)} but {key} is {format_value(outer)}"
            problems.append(Problem(file, 0, 0, key, message, _KEEP_ONE))
        elif inner is not None:
            result[key] = inner
    return _canonical_scaling(parameters, "rope_parameters", result, file, problems)


def _compare_scalings(
    scaling: dict[str, Any] | None, older: object, config: Mapping[str, Any], file: str, problems: list[Problem]
) -> None:
    canonical = _canonical_scaling(older, "rope_scaling", config, file, problems)
    if canonical != scaling:
        message = f"rope_parameters has {format_value(scaling)} but rope_scaling is {format_value(canonical)}"
        problems.append(Problem(file, 0, 0, "rope_scaling", message, _KEEP_ONE))


def _by_layer_type(
    parameters: Mapping[str, Any], config: Mapping[str, Any], file: str, problems: list[Problem]
) -> dict[str, dict[str, Any] | None]:
    """Return `rope_parameters` of each layer type in canonical spelling; the result is a fixed point."""
    result: dict[str, dict[str, Any] | None] = {}
    for layer_type, settings in parameters.items():
        path = f"rope_parameters.{layer_type}"
        if settings is None:
            result[layer_type] = None
            continue
        if not isinstance(settings, Mapping):
            problems.append(Problem(file, 0, 0, path, f"expected a mapping, got {format_value(settings)}"))
            continue
        rest = dict(settings)
        moved = {key: rest.pop(key, None) for key in _MOVED_KEYS}
        is_canonical = "rope_scaling" in rest
        scaling = rest.pop("rope_scaling") if is_canonical else _canonical_scaling(rest, path, config, file, problems)
        result[layer_type] = {**moved, "rope_scaling": scaling}
    return result


def _canonical_scaling(
    scaling: object, key: str, config: Mapping[str, Any], file: str, problems: list[Problem]
) -> dict[str, Any] | None:
    """Return a rope scaling of either spelling as {kind: ..., parameters}, or None for no scaling."""
    if not isinstance(scaling, Mapping):
        problems.append(Problem(file, 0, 0, key, f"expected a mapping, got {format_value(scaling)}"))
        return None
    parameters = {name: value for name, value in scaling.items() if value is not None and name not in _OF_PICTURES}
    names = {name: parameters.pop(name) for name in ("kind", "rope_type", "type") if name in parameters}
    kinds = {
        _KIND_ALIASES.get(name, name) if isinstance(name, str) else name for name in map(_hashable, names.values())
    }
    if len(kinds) > 1:
        message = " and ".join(f"{name} {format_value(value)}" for name, value in names.items()) + " disagree"
        problems.append(Problem(file, 0, 0, key, message, _KEEP_ONE))
        return None
    schema = keys_of(Rope)["scaling"].schema
    supported = schema.kinds if isinstance(schema, SectionSchema) else ()
    if not kinds and key == "rope_scaling":
        hint = f"supported: {format_list(supported)}"
        problems.append(Problem(file, 0, 0, key, "missing key 'rope_type'", hint))
        return None
    kind = kinds.pop() if kinds else "none"
    if kind == "yarn" and "long_factor" in parameters:
        kind = "longrope"  # as the first Phi-3 files call it
    if kind not in supported:
        hint = join_hints(did_you_mean(str(kind), supported), f"supported: {format_list(supported)}")
        message = f"the rope scaling {format_value(kind)} is not supported"
        problems.append(Problem(file, 0, 0, f"{key}.rope_type", message, hint))
        return None
    assert isinstance(schema, SectionSchema)
    if "original_max_position_embeddings" in keys_of(schema.classes[kind]):
        _fill_trained_length(kind, key, parameters, config, file, problems)
    return {"kind": kind, **parameters} if kind != "none" or parameters else None


def _fill_trained_length(
    kind: str, key: str, parameters: dict[str, Any], config: Mapping[str, Any], file: str, problems: list[Problem]
) -> None:
    """Set the trained length from the rest of the config if the scaling does not contain it, as transformers does."""
    name = "original_max_position_embeddings"
    longest = config.get("max_position_embeddings")
    outer_key = "max_position_embeddings" if kind == "dynamic" else name
    inner, outer = parameters.get(name), config.get(outer_key)
    if inner is not None and outer is not None and inner != outer:
        message = f"{format_value(inner)} disagrees with {outer_key} = {format_value(outer)}"
        hint = f"both have the same meaning for {kind} scaling; keep one"
        problems.append(Problem(file, 0, 0, f"{key}.{name}", message, hint))
    trained = next((value for value in (inner, outer, longest) if value is not None), None)
    if trained is not None:
        parameters[name] = trained
    has_factor = not parameters.keys().isdisjoint({"factor", "attention_factor"})
    if kind == "longrope" and not has_factor and _is_positive(longest) and _is_positive(trained):
        parameters["factor"] = longest / trained


def _is_positive(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and value > 0


def _invalid_values(value: object, file: str, path: str = "", depth: int = 0) -> list[Problem]:
    """Return the problems of values that JSON does not allow, for a config that is a dict rather than a file."""
    if depth > MAX_DEPTH:
        return [Problem(file, 0, 0, clip(path), "the nesting is too deep")]
    if isinstance(value, Mapping):
        children = [(f"{path}.{key}" if path else str(key), child) for key, child in value.items()]
    elif isinstance(value, list | tuple):
        children = [(f"{path}[{index}]", child) for index, child in enumerate(value)]
    else:
        is_finite = not isinstance(value, float) or abs(value) < float("inf")
        is_bounded = not isinstance(value, int) or abs(value) <= MAX_INTEGER
        if is_finite and is_bounded:
            return []
        message = f"expected a finite number of at most 2**63, got {clip(repr(value)[:100])}"
        return [Problem(file, 0, 0, clip(path), message)]
    return [problem for where, child in children for problem in _invalid_values(child, file, where, depth + 1)]


def _hashable(value: object) -> object:
    return value if isinstance(value, str) else format_value(value)
