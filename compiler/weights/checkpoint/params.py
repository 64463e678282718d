"""Folders with params.json in place of config.json: config, names, row order and split axes are in `specs/params/`."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from archc.archspec import read_config
from archc.archspec.checking.expressions import Expression, parse
from archc.archspec.config.tensor_sizes import parse_size
from archc.archspec.errors import clip
from archc.archspec.source.catalog import specs_dir
from archc.archspec.source.nodes import to_python
from archc.archspec.source.yaml_reader import read_tree
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.gguf.row_order import in_halves
from archc.compiler.weights.checkpoint.parts import JoinedParts
from archc.compiler.weights.checkpoint.weights import Place, Weights, check_place

PARAMS = "params.json"
_BY_COLUMNS = "by_columns"
_LAYER = re.compile(r"(?<=^layers\.)\d+(?=\.)")
_SUFFIX = re.compile(r"\.(weight|bias)$")
_HUB_FORM = "use the same model's hub repository or folder with config.json, such as the one whose name ends in -hf"


def params_config(folder: Path, weights: Weights) -> dict[str, Any]:
    """Return the config.json that params.json and the tensors amount to.

    Raises BuildError for a key that is missing or not supported.
    """
    path = folder / PARAMS
    params = _read_params(folder)
    description = _description_of(params)
    for key in description["required"]:
        if params.get(key) is None:
            raise BuildError(f"{path}: {key}: the key is missing; {_HUB_FORM}")
    settings = [(_condition(each["when"]), each["config"]) for each in description["settings"]]
    read = [name for condition, _ in settings for name in condition.names]
    known = {*description["keys"].values(), *description["ignored"], *read}
    for key, value in params.items():
        if key not in known and value not in (None, False):
            raise BuildError(f"{path}: {clip(key)}: the key is not supported; {_HUB_FORM}")
    config = {**description["config"], "tie_word_embeddings": description["head"] not in weights.names()}
    for condition, values in settings:
        if _holds(condition, params):
            config |= values
    for key, source in description["keys"].items():
        if params.get(source) is not None:
            config[key] = params[source]
    for key, text in description["shapes"].items():
        if key in config:
            continue
        size = parse_size(text)
        assert size is not None
        value = size.read(weights.names(), weights.shape)
        if value is None:
            raise BuildError(f"{folder}: {key}: {size} is missing; {_HUB_FORM}")
        config[key] = value
    return config


def params_overrides(folder: Path) -> tuple[str, ...]:
    """Return overrides in the form of `--set` that the settings of params.json amount to: the section `text`."""
    params = _read_params(folder)
    return tuple(
        f"text={json.dumps(each['text'])}"
        for each in _description_of(params)["settings"]
        if "text" in each and _holds(_condition(each["when"]), params)
    )


def join_parts(folder: Path, parts: Sequence[Weights]) -> Weights:
    """Return the tensors of a folder with params.json: those of its only file, or of files for model parallelism.

    Raises BuildError if the files do not fit together.
    """
    if len(parts) == 1:
        return parts[0]
    params = _read_params(folder)
    description = _description_of(params)
    width, axes = params.get(description["keys"]["hidden_size"]), {}
    for name in parts[0].names():
        axis = _rule_of(name, description["tensors"]).get("axis")
        if axis == _BY_COLUMNS:
            axis = 0 if parts[0].shape(name)[1:] == (width,) else 1
        if axis is not None:
            axes[name] = axis
    return JoinedParts(folder, parts, axes)


class RenamedWeights:
    """The tensors of a folder with params.json, under the names and in the row order of the hub's form."""

    def __init__(self, folder: Path, weights: Weights) -> None:
        self._weights = weights
        config = params_config(folder, weights)
        rules = _description_of(_read_params(folder))["tensors"]
        self._sources: dict[str, tuple[str, int]] = {}
        for name in weights.names():
            hub_name, key = _hub_name(name, rules)
            heads = config.get(key, config.get("num_attention_heads")) if key else 0
            shape = weights.shape(name)
            if not isinstance(heads, int) or heads < 0 or (heads and (not shape or shape[0] % (2 * heads))):
                raise BuildError(
                    f"{folder}: tensor '{clip(name)}' {list(shape)} does not have rows for {heads!r:.40} heads; "
                    "download the folder again"
                )
            self._sources[hub_name] = (name, heads)

    def names(self) -> Collection[str]:
        """Return the names of all tensors in the hub's form."""
        return self._sources.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self._weights.shape(self._sources[name][0])

    def dtype(self, name: str) -> str:
        """Return the dtype of a tensor by its name in safetensors."""
        return self._weights.dtype(self._sources[name][0])

    def bytes(self, name: str) -> int:
        """Return the size of a tensor in bytes, as stored."""
        return self._weights.bytes(self._sources[name][0])

    def check_numbers(self, names: Iterable[str]) -> None:
        """Raise BuildError if one of these tensors has a dtype that no weight may have."""
        self._weights.check_numbers(self._sources[name][0] for name in names)

    def read(self, name: str, place: Place = ()) -> Tensor:
        """Return a tensor, or its part at a place along its first axes; only the rows of its heads are read.

        Raises BuildError for a file that cannot be read, and ValueError for a place out of bounds.
        """
        source, heads = self._sources[name]
        if not heads:
            return self._weights.read(source, place)
        shape = self._weights.shape(source)
        check_place(place, shape)
        first, rest = (place[0], place[1:]) if place else (slice(0, shape[0]), ())
        start, stop = (first.start, first.stop) if isinstance(first, slice) else (first, first + 1)
        width = shape[0] // heads
        begin, end = start // width * width, -(-stop // width) * width
        value = self._weights.read(source, (slice(begin, end),))
        value = in_halves(value, (end - begin) // width)[start - begin : stop - begin]
        if not isinstance(first, slice):
            return value[0][rest] if rest else value[0]
        return value[(slice(None), *rest)] if rest else value


def _hub_name(name: str, rules: Mapping[str, Any]) -> tuple[str, str]:
    """Return the hub's name of a tensor, and the config key of the heads whose rows are in pairs, if any."""
    layer, suffix = _LAYER.search(name), _SUFFIX.search(name)
    details = _rule_of(name, rules)
    if not details:
        return name, ""
    hub_name = details["name"].replace("{layer}", layer[0] if layer else "")
    return hub_name + (suffix[0] if suffix else ""), details.get("rotary_pairs", "")


def _rule_of(name: str, rules: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the rule of a tensor, empty if there is none."""
    suffix = _SUFFIX.search(name)
    rule = rules.get(_LAYER.sub("{layer}", name.removesuffix(suffix[0] if suffix else "")), {})
    return {"name": rule} if isinstance(rule, str) else rule


def _read_params(folder: Path) -> dict[str, Any]:
    """Return the settings of params.json, which some writers nest under `model`."""
    params = read_config(folder / PARAMS)
    return params["model"] if isinstance(params.get("model"), dict) else params


def _holds(condition: Expression, params: Mapping[str, Any]) -> bool:
    return bool(condition.evaluate({name: params.get(name) for name in condition.names}))


@cache
def _condition(text: str) -> Expression:
    return parse(text)


def _description_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description with the most required keys among those whose required keys are there."""
    names = sorted(path.stem for path in (specs_dir() / "params").glob("*.yaml"))
    described = [_description(name) for name in names]
    fitting = [each for each in described if all(key in params for key in each["required"])]
    return max(fitting or described, key=lambda each: len(each["required"]) * (1 if fitting else -1))


@cache
def _description(name: str) -> dict[str, Any]:
    """Return a description of `specs/params/`, with the one that it extends."""
    own: dict[str, Any] = to_python(read_tree(specs_dir() / "params" / f"{name}.yaml"))
    parent = own.pop("extends", None)
    base = _description(parent) if parent else {}
    merged = {key: {**base.get(key, {}), **own.get(key, {})} for key in ("config", "keys", "shapes", "tensors")}
    return {**merged, **{key: own.get(key, base.get(key, [])) for key in ("required", "ignored", "settings", "head")}}
