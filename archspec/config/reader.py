"""Reads config.json, and brings the spellings of both of its generations to one.

Before transformers 5 a file says `rope_theta`, `rope_scaling: {type | rope_type, ...}` and `partial_rotary_factor`;
since then it says `rope_parameters: {rope_type, rope_theta, partial_rotary_factor, ...}`. Either way a spec sees
`rope_theta`, `partial_rotary_factor` and `rope_scaling` as a mapping with a `kind` of the vocabulary, or null. Where
`rope_parameters` has one mapping for each type of layer, each of them becomes those three.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from archc.archspec.checking.expressions import MAX_INTEGER
from archc.archspec.checking.word_schema import SectionShape, fields_of
from archc.archspec.errors import ConfigError, Problem, clipped, did_you_mean, hints, listed, shown
from archc.archspec.vocabulary import Rope

MAX_BYTES = 16 * 1024 * 1024  # id2label lists of classifiers are long
MAX_DEPTH = 32

# Keys that do not change what a model computes: training, generation, tokens, labels, and how a library runs it.
NEUTRAL_KEYS = (
    "architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "auto_map", "_name_or_path",
    "name_or_path", "_commit_hash", "_attn_implementation*", "attn_implementation", "_flash_attn_2_enabled",
    "_experts_implementation*", "cache_implementation",
    "*dropout*", "*_pdrop", "*initializer_range", "initializer_factor", "*_token_id", "*_token_ids", "use_cache",
    "id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params", "summary_*",
    "return_dict*", "output_attentions", "output_hidden_states", "output_past", "output_scores",
    "pretraining_tp", "gradient_checkpointing", "use_bfloat16", "tf_legacy_loss", "torchscript", "prefix",
    "tokenizer_class",
    "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty",
    "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "exponential_decay_length_penalty",
    "remove_invalid_values", "suppress_tokens", "begin_suppress_tokens",
    "original_max_position_embeddings",  # of a rope scaling, which takes it in; without one it says nothing
)  # fmt: skip

# Values at which a key says nothing, whatever the model; with any other value the key counts.
NEUTRAL_VALUES: Mapping[str, object] = {
    "is_decoder": False, "is_encoder_decoder": False, "add_cross_attention": False, "tie_encoder_decoder": False,
    "chunk_size_feed_forward": 0, "pruned_heads": {}, "partial_rotary_factor": 1.0,
}  # fmt: skip

_KIND_ALIASES = {"default": "none", "su": "longrope"}
_NESTED = "rope_parameters"  # kept where it differs from layer type to layer type


def read_config(path: str | Path) -> dict[str, Any]:
    """A config.json, or the one in a folder, as a dict. Raises ConfigError for anything but strict JSON."""
    file = Path(path)
    if file.is_dir():
        file = file / "config.json"
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError([Problem(str(file), 0, 0, "", f"cannot be read: {reason}")]) from None
    if len(data) > MAX_BYTES:
        raise ConfigError([Problem(str(file), 0, 0, "", f"is larger than {MAX_BYTES} bytes, too large for a config")])
    return parse_config(data, str(file))


def parse_config(data: str | bytes, file: str) -> dict[str, Any]:
    """The text of a config.json as a dict. Raises ConfigError for anything but strict JSON."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        raise ConfigError([Problem(file, error.lineno, error.colno, "", f"is not JSON: {error.msg}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(file, 0, 0, "", "is not UTF-8 text")]) from None
    except RecursionError:
        raise ConfigError([Problem(file, 0, 0, "", "is nested too deeply")]) from None
    except ValueError as error:
        raise ConfigError([Problem(file, 0, 0, "", clipped(str(error), 200))]) from None
    if not isinstance(value, dict):
        raise ConfigError([Problem(file, 1, 1, "", f"a JSON object is expected, not {shown(value)}")])
    return value


def canonical_config(config: Mapping[str, Any], file: str) -> dict[str, Any]:
    """The config in one spelling, whichever generation wrote it. Raises ConfigError where the two disagree."""
    problems = [
        Problem(file, 0, 0, "", f"the key {shown(key)} is not text") for key in config if not isinstance(key, str)
    ]
    problems += _unfit_values(config, file)
    if problems:
        raise ConfigError(problems)
    result = dict(config)
    newer = result.get("rope_parameters")
    if newer is not None and not isinstance(newer, Mapping):
        raise ConfigError([Problem(file, 0, 0, "rope_parameters", f"{shown(newer)} where a mapping is expected")])
    if newer and any(isinstance(value, Mapping) for value in newer.values()):
        result[_NESTED] = _by_layer_type(newer, result, file, problems)
        newer = None
    older = result.get("rope_scaling")
    if newer is not None:
        result.pop(_NESTED)
        newer = dict(newer)
        for key in ("rope_theta", "partial_rotary_factor"):
            inner = newer.pop(key, None)
            outer = result.get(key)
            if inner is not None and outer is not None and inner != outer:
                message = f"rope_parameters says {shown(inner)} and the key beside it {shown(outer)}"
                problems.append(Problem(file, 0, 0, key, message, "they mean the same: keep one"))
            elif inner is not None:
                result[key] = inner
        scaling = _scaling(newer, "rope_parameters", result, file, problems)
        if older is not None and not problems:
            before = _scaling(older, "rope_scaling", result, file, problems)
            if before != scaling:
                message = f"rope_parameters says {shown(scaling)} and rope_scaling {shown(before)}"
                problems.append(Problem(file, 0, 0, "rope_scaling", message, "they mean the same: keep one"))
        result["rope_scaling"] = scaling
    elif older is not None:
        result["rope_scaling"] = _scaling(older, "rope_scaling", result, file, problems)
    if problems:
        raise ConfigError(problems)
    return result


def _by_layer_type(
    given: Mapping[str, Any], config: Mapping[str, Any], file: str, problems: list[Problem]
) -> dict[str, dict[str, Any] | None]:
    """Rope parameters with a mapping, or null, for each type of layer, in the one spelling; that spelling stays."""
    result: dict[str, dict[str, Any] | None] = {}
    for layer_type, parameters in given.items():
        path = f"{_NESTED}.{layer_type}"
        if parameters is None:
            result[layer_type] = None
            continue
        if not isinstance(parameters, Mapping):
            problems.append(Problem(file, 0, 0, path, f"{shown(parameters)} where a mapping is expected"))
            continue
        rest = dict(parameters)
        own = {key: rest.pop(key, None) for key in ("rope_theta", "partial_rotary_factor")}
        known = rest.pop("rope_scaling") if "rope_scaling" in rest else _scaling(rest, path, config, file, problems)
        result[layer_type] = {**own, "rope_scaling": known}
    return result


def is_neutral(key: str, value: object) -> bool:
    """Whether a key with this value cannot change what any model computes. A null is an absent key."""
    if value is None or (key in NEUTRAL_VALUES and value == NEUTRAL_VALUES[key]):
        return True
    return bool(_neutral_keys().match(key))


@cache
def _neutral_keys() -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in NEUTRAL_KEYS))


def _scaling(
    given: object, key: str, config: Mapping[str, Any], file: str, problems: list[Problem]
) -> dict[str, Any] | None:
    """A rope scaling of either generation as {kind: ..., parameters}, or None for no scaling."""
    if not isinstance(given, Mapping):
        problems.append(Problem(file, 0, 0, key, f"{shown(given)} where a mapping is expected"))
        return None
    parameters = {name: value for name, value in given.items() if value is not None}
    names = {name: parameters.pop(name) for name in ("kind", "rope_type", "type") if name in parameters}
    kinds = {
        _KIND_ALIASES.get(name, name) if isinstance(name, str) else name for name in map(_hashable, names.values())
    }
    if len(kinds) > 1:
        both = " and ".join(f"{name} {shown(value)}" for name, value in names.items())
        problems.append(Problem(file, 0, 0, key, f"says {both}", "they mean the same: keep one"))
        return None
    shape = fields_of(Rope)["scaling"].shape
    known = shape.kinds if isinstance(shape, SectionShape) else ()
    if not kinds and key == "rope_scaling":
        problems.append(Problem(file, 0, 0, key, "the key 'rope_type' is missing", f"known: {listed(known)}"))
        return None
    kind = kinds.pop() if kinds else "none"
    if kind == "yarn" and "long_factor" in parameters:
        kind = "longrope"  # as the first Phi-3 files call it
    if kind not in known:
        hint = hints(did_you_mean(str(kind), known), f"known: {listed(known)}")
        problems.append(Problem(file, 0, 0, f"{key}.rope_type", f"the rope scaling {shown(kind)} is not known", hint))
        return None
    assert isinstance(shape, SectionShape)
    if "original_max_position_embeddings" in fields_of(shape.classes[kind]):
        _trained_length(kind, key, parameters, config, file, problems)
    return {"kind": kind, **parameters} if kind != "none" or parameters else None


def _trained_length(
    kind: str, key: str, parameters: dict[str, Any], config: Mapping[str, Any], file: str, problems: list[Problem]
) -> None:
    """Fills in the trained length where the scaling leaves it to the rest of the config, as transformers does."""
    name = "original_max_position_embeddings"
    longest = config.get("max_position_embeddings")
    outer = longest if kind == "dynamic" else config.get(name)
    inner = parameters.get(name)
    if inner is not None and outer is not None and inner != outer:
        beside = "max_position_embeddings" if kind == "dynamic" else name
        message = f"{shown(inner)} disagrees with {beside} = {shown(outer)}"
        problems.append(Problem(file, 0, 0, f"{key}.{name}", message, f"for {kind} scaling they mean the same"))
    value = next((given for given in (inner, outer, longest) if given is not None), None)
    if value is not None:
        parameters[name] = value
    given = parameters.keys() & {"factor", "attention_factor"}
    if kind == "longrope" and not given and _positive(longest) and _positive(value):
        parameters["factor"] = longest / value


def _positive(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and value > 0


def _unfit_values(value: object, file: str, path: str = "", depth: int = 0) -> list[Problem]:
    """What no JSON file could hold, in a config that came as a dict."""
    if depth > MAX_DEPTH:
        return [Problem(file, 0, 0, clipped(path), "is nested too deeply")]
    if isinstance(value, Mapping):
        children = [(f"{path}.{key}" if path else str(key), child) for key, child in value.items()]
    elif isinstance(value, list | tuple):
        children = [(f"{path}[{index}]", child) for index, child in enumerate(value)]
    else:
        children = []
        bad_float = isinstance(value, float) and not abs(value) < float("inf")
        bad_integer = isinstance(value, int) and abs(value) > MAX_INTEGER
        if bad_float or bad_integer:
            return [
                Problem(file, 0, 0, clipped(path), f"{clipped(repr(value)[:100])} is not a number that a model has")
            ]
    return [problem for where, child in children for problem in _unfit_values(child, file, where, depth + 1)]


def _hashable(value: object) -> object:
    return value if isinstance(value, str) else shown(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shown(twice)} appears twice")
    return result


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"{clipped(text)} is too large a number")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{clipped(text)} is too large a number")
    return value
