"""Detection of the spec of a checkpoint by its config.json, or by the names of its tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from archc.archspec.checking.functions import ExpressionError
from archc.archspec.checking.match_condition import match_condition
from archc.archspec.config.task_classes import shares_model
from archc.archspec.config.text_part import part_keys, text_part
from archc.archspec.errors import ConfigError, Problem, did_you_mean, format_list, format_value, join_hints
from archc.archspec.source.catalog import shipped, valid_headers
from archc.archspec.source.header import Header


def detect_spec(
    config: Mapping[str, Any], file: str = "config.json", tokenizer_config: Mapping[str, Any] | None = None
) -> str:
    """Return the name of the shipped spec whose `match:` fits a config.json.

    Of a multimodal config, the text model counts. Conditions may also read the content of tokenizer_config.json, as
    the mapping `tokenizer_config`. Raises
    ConfigError, with the closest candidates, if no spec or more than one matches. Specs with an invalid header are
    skipped; if no other spec matches, their problems are part of the error.
    """
    place = "".join(f"{key}." for key in part_keys(config)) + "model_type"
    config = text_part(config)
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        message = (
            "missing key 'model_type'"
            if model_type is None
            else f"expected the model type as text, got {format_value(model_type)}"
        )
        raise ConfigError([Problem(file, 0, 0, place, message, "pass the name of a spec")])
    names = config.get("architectures")
    architectures = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    # Reading YAML takes most of the time, and few files contain the model type.
    mentioning = {name: path for name, path in shipped().items() if _contains(path, model_type)}
    headers, _ = valid_headers(mentioning)
    candidates = {name: header for name, header in headers.items() if _matches(header, model_type, architectures)}
    values = {**config, "tokenizer_config": tokenizer_config or {}}
    matching = [name for name, header in candidates.items() if _meets_condition(header, values)]
    if len(matching) == 1:
        return matching[0]
    if len(matching or candidates) > 1:
        message = f"model_type {format_value(model_type)} matches several specs: {format_list(matching or candidates)}"
        raise ConfigError([Problem(file, 0, 0, place, message, "pass the name of one of them")])
    headers, problems = valid_headers(shipped())
    by_type = {name: header for name, header in headers.items() if model_type in header.model_types}
    for name, header in candidates.items():
        condition = header.where.value if header.where is not None else ""
        message = f"the config does not fulfill the condition of the spec '{name}': {format_value(condition)}"
        raise ConfigError([Problem(file, 0, 0, "", message, "pass the name of a spec"), *problems])
    if by_type:
        supported = sorted({name for header in by_type.values() for name in header.architectures})
        message = f"no spec for model_type {format_value(model_type)} matches {format_value(architectures)}"
        hint = f"supported: {format_list(supported)} (specs: {format_list(by_type)})"
        raise ConfigError([Problem(file, 0, 0, "architectures", message, hint), *problems])
    types = sorted({name for header in headers.values() for name in header.model_types})
    hint = join_hints(did_you_mean(model_type, types), "`archc list` prints the families, `archc new` drafts a spec")
    message = f"no spec matches model_type {format_value(model_type)}"
    raise ConfigError([Problem(file, 0, 0, place, message, hint), *problems])


def detect_by_tensors(names: Collection[str], file: str) -> str:
    """Return the name of the shipped spec whose `match.tensors` are all among the names of a checkpoint's tensors.

    Raises ConfigError if no spec or more than one matches.
    """
    headers, problems = valid_headers(shipped())
    described = {name: header for name, header in headers.items() if header.tensors}
    matching = [name for name, header in described.items() if all(tensor in names for tensor in header.tensors)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        message = f"no config.json, and the tensors match several specs: {format_list(matching)}"
        raise ConfigError([Problem(file, 0, 0, "", message, "pass the name of one of them and --weights")])
    message = "no config.json, and no spec matches the names of the tensors"
    hint = f"pass the folder with config.json, or a spec and --weights; specs by tensors: {format_list(described)}"
    raise ConfigError([Problem(file, 0, 0, "", message, hint), *problems])


def _matches(header: Header, model_type: str, architectures: list[str]) -> bool:
    """Return whether the model type and one of the architectures are the spec's, or a task's class for its model."""
    if model_type not in header.model_types:
        return False
    stated = set(header.architectures)
    if not stated or not architectures or stated & set(architectures):
        return True
    return shares_model(architectures, stated)


def _meets_condition(header: Header, values: Mapping[str, Any]) -> bool:
    """Return whether the values fulfill `match.where`; an expression that fails does not hold."""
    condition = match_condition(header, [])
    if condition is None:
        return header.where is None
    try:
        value = condition.evaluate({name: values.get(name) for name in condition.names})
    except ExpressionError:
        return False
    return bool(value) and not isinstance(value, str)


def _contains(path: Path, text: str) -> bool:
    """Return whether a file is readable and contains `text`."""
    try:
        return text.encode() in path.read_bytes()
    except OSError:
        return False
