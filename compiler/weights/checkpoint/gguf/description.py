"""The GGUF architectures of `specs/gguf/`: what a file's settings and tensors are in the hub's form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from archc.archspec.checking.expressions import parse
from archc.archspec.source.catalog import specs_dir
from archc.archspec.source.nodes import to_python
from archc.archspec.source.yaml_reader import read_tree

_NAME = re.compile(r"(?P<stem>.+?)(?P<suffix>\.(weight|bias))?")
_BLOCK = re.compile(r"blk\.(\d+)\.")
_NUMBER = re.compile(r"\.(\d+)$")
_PER_INDEX = re.compile(r"\{(expert|index)\}")


@dataclass(frozen=True)
class TensorRule:
    """The hub's name of a tensor, and what differs from its form there.

    `pairs` is the config key of the number of heads whose rows the file has in pairs; `heads` and `groups` are those of
    fused queries, keys and values, which the hub has group by group. `transposed` matrices are [in, out] on the hub.
    Tensors with the same name are alternating columns there, `column` is the index of this one. `row` is true if the
    hub has a matrix of one row for a vector. `offset` is added.
    """

    name: str
    pairs: str = ""
    heads: str = ""
    groups: str = ""
    transposed: bool = False
    column: int | None = None
    row: bool = False
    offset: float = 0.0

    @property
    def per_index(self) -> bool:
        """True if the hub has a tensor for each index of the first axis, such as one for each expert."""
        return _PER_INDEX.search(self.name) is not None

    def name_at(self, index: int) -> str:
        """Return the hub's name of the part at an index of the first axis."""
        return _PER_INDEX.sub(str(index), self.name)


@dataclass(frozen=True)
class Description:
    """The description of an architecture with all of its variants that hold for a file.

    `config`: constants of config.json; `keys`: its keys by those of the file; `derive`: expressions of further keys,
    over the earlier ones, `file` (settings of the architecture) and `tensors` (names). `allowed`: settings of the file
    with the only supported value. `rope`: constants of a rope scaling, by its kind.
    """

    config: Mapping[str, Any]
    keys: Mapping[str, str]
    derive: Mapping[str, Any]
    allowed: Mapping[str, Any]
    rope: Mapping[str, Any]
    tensors: Mapping[str, Any]

    def rule(self, name: str) -> TensorRule:
        """Return the rule of a tensor; one without a rule has its own name, which no weight table reads."""
        match = _NAME.fullmatch(name)
        stem, suffix = (match["stem"], match["suffix"] or "") if match else (name, "")
        block, number = _BLOCK.match(stem), _NUMBER.search(stem)
        generic = _BLOCK.sub("blk.{layer}.", stem)
        for key, rest in (
            (generic + suffix, ""),
            (generic, suffix),
            (_NUMBER.sub(".{expert}", generic), suffix),
        ):
            if key in self.tensors:
                entry = self.tensors[key]
                details: dict[str, Any] = {"name": entry} if isinstance(entry, str) else dict(entry)
                hub_name = details.pop("name").replace("{layer}", block[1] if block else "")
                if number is not None and key.endswith(".{expert}"):
                    hub_name = _PER_INDEX.sub(number[1], hub_name)
                return TensorRule(hub_name + rest, **details)
        return TensorRule(name.replace("{", "(").replace("}", ")"))


_SECTIONS = tuple(Description.__dataclass_fields__)


def described() -> tuple[str, ...]:
    """Return the names of all architectures with a description."""
    return tuple(_all())


def describe(name: str, names: Mapping[str, Any]) -> Description:
    """Return the description of an architecture for a file, `names` being those that conditions of variants read.

    Raises ExpressionError if a condition cannot be evaluated.
    """
    sections = _read(name)
    for variant in sections["variants"]:
        if parse(variant["when"]).evaluate(names):
            sections = _merge(sections, variant)
    return Description(**{key: sections[key] for key in _SECTIONS})


@cache
def _all() -> Mapping[str, Any]:
    """Return what the file has for each architecture, by name."""
    read: dict[str, Any] = to_python(read_tree(specs_dir() / "gguf" / "architectures.yaml"))
    return dict(sorted(read.items()))


@cache
def _read(name: str) -> Mapping[str, Any]:
    """Return a description with the one that it extends; variants are not inherited."""
    own: Mapping[str, Any] = _all()[name]
    parent = own.get("extends")
    base: Mapping[str, Any] = {key: {} for key in _SECTIONS} if parent is None else _read(parent)
    return {**_merge(base, own), "variants": own.get("variants", [])}


def _merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections of both; null removes an inherited entry."""
    merged = {key: {**base[key], **own.get(key, {})} for key in _SECTIONS}
    return {
        key: {name: value for name, value in section.items() if value is not None} for key, section in merged.items()
    }
