"""The text of a drafted spec."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from archc.archspec import ArchspecError, Spec, load_spec_text
from archc.archspec.docs.json_schema import MODELINE
from archc.archspec.errors import format_value
from archc.archspec.source.top_keys import SECTIONS
from archc.authoring.defaults import class_defaults, differing_defaults
from archc.authoring.nearest import Fit, StoredTensors
from archc.authoring.proposals import Proposals
from archc.authoring.subject import Subject

_SIZE = "published"
_MOST_LIST = 16  # items of a list that a size repeats


@dataclass(frozen=True)
class Draft:
    """A drafted spec: its text, and the fit of the spec that it extends."""

    text: str
    fit: Fit
    faults: tuple[str, ...]  # of the draft itself, each also a comment of it


def write_draft(family: str, subject: Subject, fit: Fit, specs: Mapping[str, Spec]) -> Draft:
    """Return the draft of a spec that extends the nearest one; parts that the checks refuse are comments."""
    defaults = class_defaults(subject.model_type)
    own = differing_defaults(fit.spec, defaults) if defaults is not None else {}
    parts = {"config": _config_lines(own), "sizes": _size_lines(subject, fit)}
    faults: list[str] = []
    for name, lines in list(parts.items()):
        if lines and (fault := _fault(_body(family, subject, fit, {name: lines}))) is not None:
            faults.append(fault)
            parts[name] = [f"# {line}" for line in lines]
    body = _body(family, subject, fit, parts)
    if not faults and (fault := _fault(body)) is not None:
        faults.append(fault)
    comments = list(_comments(subject, fit, Proposals(specs), faults))
    return Draft("\n".join([*body, *comments]) + "\n", fit, tuple(faults))


def slug(text: str) -> str:
    """Return a text as the name of a spec: lowercase letters and digits, joined by dashes."""
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))


def _body(family: str, subject: Subject, fit: Fit, parts: Mapping[str, list[str]]) -> list[str]:
    classes = ", ".join(subject.architectures)
    place = Path(subject.place)
    name = subject.place if not place.exists() else place.parent.name if place.is_file() else place.name
    source = f"{name} config.json".strip()
    match = f"model_type: {_scalar(subject.model_type)}"
    match += f", architectures: [{', '.join(map(_scalar, subject.architectures))}]" if subject.architectures else ""
    lines = [
        MODELINE,
        f"family: {family}",
        f"description: {_scalar(classes or subject.model_type or family)}",
        f"source: {_scalar(source)}",
        f"extends: {fit.name}",
        *([f"match: {{{match}}}"] if subject.model_type else []),
    ]
    for part in parts.values():
        lines += ["", *part] if part else []
    return lines


def _config_lines(defaults: Mapping[str, Any]) -> list[str]:
    rows = [f"  {name}: {_scalar(value)}" for name, value in defaults.items()]
    return ["config:", *rows] if rows else []


def _size_lines(subject: Subject, fit: Fit) -> list[str]:
    """Return the values of the config under `sizes:`, those that the spec reads."""
    read = {key for name in fit.spec.read & fit.spec.names.config.keys() for key in fit.spec.names.config[name].keys}
    values = {key: value for key, value in subject.keys.items() if key in read and _is_short(value)}
    text = ", ".join(f"{key}: {_scalar(value)}" for key, value in values.items())
    return ["sizes:", f"  {_SIZE}: {{{text}}}"] if values else []


def _is_short(value: Any) -> bool:
    return value is not None and not (isinstance(value, list) and len(value) > _MOST_LIST)


def _scalar(value: Any) -> str:
    """Return a value in YAML on one line."""
    if isinstance(value, float):
        return json.dumps(value)
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _fault(lines: Iterable[str]) -> str | None:
    """Return the first problem of a spec's text, at its default sizes and at every named one; None if it is valid."""
    try:
        spec = load_spec_text("\n".join(lines), "draft")
        for size in spec.sizes:
            spec.bind(size=size)
    except ArchspecError as error:
        return str(error.problems[0])
    return None


def _comments(subject: Subject, fit: Fit, proposals: Proposals, faults: Iterable[str]) -> Iterator[str]:
    known = fit.spec.read & fit.spec.names.config.keys()
    yield from _block("archc check refuses a part of this draft, which is a comment:", faults)
    yield from _block(
        "Rotary settings that are not supported:",
        [f"  {item}" for item in (*subject.left_out, *subject.faults)],
    )
    yield from _block(f"Faults of {fit.name} at this config:", (f"  {fault}" for fault in fit.faults))
    yield from _block(
        f"Keys that {fit.name} requires and the config does not contain; declare a default, or the key with this "
        "meaning under `keys:`:",
        (f"  {name}:" for name in fit.missing),
    )
    keys = [
        f"  {key}:{_remark(f'{format_value(value)}; {proposals.of_key(key, known)}'.rstrip('; '))}"
        for key, value in fit.unread.items()
    ]
    yield from _block(
        f"Keys that {fit.name} does not read. Declare each under `config:` and use it in a section, state the values "
        "that change nothing under `allowed:`, or list it under `ignore_config:`:",
        keys,
    )
    tensors = [f"  {_stored(item)}{_remark(proposals.of_tensor(item.pattern))}" for item in fit.tensors]
    yield from _block(f"Tensors that the weight table of {fit.name} does not read:", tensors)
    yield from _block(
        "Slots that no tensor fills (`null` in `weights.tensors` removes an entry):",
        (f"  {slot}" for slot in fit.unfilled),
    )
    if subject.folder is None:
        yield from _block("The tensors were not compared: there are no weights next to the config.", ())
    if fit.unread or fit.tensors or fit.unfilled:
        yield from _block(f"Sections to change, as in `archc schema` and docs/vocabulary.md: {', '.join(SECTIONS)}", ())


def _stored(item: StoredTensors) -> str:
    return f"{item.pattern} {list(item.shape)}" + (f" × {item.count}" if item.count > 1 else "")


def _remark(text: str) -> str:
    return f"  # {text}" if text else ""


def _block(title: str, rows: Iterable[str]) -> Iterator[str]:
    """Yield a paragraph of comments; none without rows, unless the title is a sentence of its own."""
    lines = list(rows)
    if lines or not title.endswith(":"):
        yield ""
        yield from (f"# {line}" for line in (*textwrap.wrap(title, 110), *lines))
