"""Checks the `weights:` section of a spec: which checkpoint tensor fills which slot, and by which verbs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from archc.archspec.checking.checked_nodes import Constant, Form, Group, Row, names_read
from archc.archspec.checking.checker import Checker
from archc.archspec.errors import Problem, clipped, did_you_mean, hints, listed, shown
from archc.archspec.source.header import texts
from archc.archspec.source.yaml_tree import Items, Mark, Node, Scalar, Table, join
from archc.archspec.vocabulary.verbs import VERBS, Concat, Split
from archc.archspec.weights.keys import MAX_ALTERNATIVES, expand_entries, expanded_keys, groups_of

KEYS = ("optional_prefix", "rename", "ignore", "tensors")
LAYER_KEY = "layer."
ENCODER_KEY = "encoder."
LAYER_FIELD = "{layer}"
INDEX_FIELD = "{index}"
EXPERT_PART = "expert"  # of a key: every expert
EXPERT_FIELD = "{expert}"

_KEY = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_FIELD = re.compile(r"\{[^{}]*\}|[{}]")


@dataclass(frozen=True)
class Entry:
    """One line of the table: a slot or module path of archc's, and the checkpoint names that fill it.

    Without `all_needed` the names are alternatives of which the first present one is read.
    """

    key: str
    names: tuple[str, ...]
    all_needed: bool
    verbs: tuple[Group, ...]
    mark: Mark


@dataclass(frozen=True)
class WeightTable:
    """A checked `weights:` section."""

    prefixes: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    ignore: tuple[str, ...] = ()
    entries: Mapping[str, Entry] | None = None

    @property
    def names(self) -> frozenset[str]:
        """The config names that sizes in the table read."""
        forms: Iterator[Form] = (verb for entry in (self.entries or {}).values() for verb in entry.verbs)
        return frozenset().union(*map(names_read, forms))


def check_weights(node: Node | None, names: Collection[str], problems: list[Problem]) -> WeightTable:
    """The table of a `weights:` section; faults go to `problems`."""
    if node is None:
        return WeightTable(entries={})
    if not isinstance(node, Table):
        problems.append(node.mark.problem("weights", "a mapping is expected", f"with the keys {listed(KEYS)}"))
        return WeightTable(entries={})
    for key, mark in node.keys.items():
        if key not in KEYS:
            hint = hints(did_you_mean(key, KEYS), f"allowed: {listed(KEYS)}")
            problems.append(mark.problem(join("weights", key), f"unknown key '{clipped(key)}'", hint))
    entries: dict[str, Entry] = {}
    tensors = node.get("tensors")
    if isinstance(tensors, Table):
        checker = Checker(names, problems)
        for key, value in tensors.entries.items():
            for entry in _entries(key, value, tensors.keys[key], checker):
                if entry.key in entries:
                    line = entries[entry.key].mark.line
                    message = f"'{entry.key}' is filled twice in the table"
                    problems.append(tensors.keys[key].problem(_path(key), message, f"it is first on line {line}"))
                entries[entry.key] = entry
    elif tensors is not None:
        problems.append(tensors.mark.problem("weights.tensors", "a mapping from archc's names to checkpoint names"))
    return WeightTable(
        texts(node.get("optional_prefix"), "weights.optional_prefix", problems),
        _pairs(node.get("rename"), "weights.rename", problems),
        texts(node.get("ignore"), "weights.ignore", problems),
        entries,
    )


def _entries(key: str, value: Node, mark: Mark, checker: Checker) -> Iterator[Entry]:
    """The checked entries of one line; nothing where it has a fault."""
    before = len(checker.problems)
    names = expanded_keys(key)
    wrong = next((name for name in names if not _KEY.fullmatch(name)), None)
    if wrong is not None:
        limit = f"at most {MAX_ALTERNATIVES} alternatives {{a,b}}"
        _report(checker, mark, key, "not a tensor name of archc's", f"names, dots and {limit}")
        return
    if isinstance(value, Scalar) and value.value is None:
        _report(checker, value.mark, key, "no checkpoint name", "null only removes an entry that `extends` inherits")
        return
    source = value.get("from") if isinstance(value, Table) else value
    if source is None:
        _report(checker, value.mark, key, "the key 'from' is missing", "it names the checkpoint tensor")
        return
    split = value.get("split") if isinstance(value, Table) else None
    concat = value.get("concat") if isinstance(value, Table) else None
    stack = value.get("stack") if isinstance(value, Table) else None
    unstack = value.get("unstack") if isinstance(value, Table) else None
    for text in _source_names(source, key, checker):
        _check_name(text, key, split is not None, stack is not None, checker)
        _check_expert(text, key, unstack is not None, checker)
    if isinstance(value, Table) and unstack is not None:
        _check_unstack(unstack, value, key, checker)
    if split is not None:
        _check_split(split, key, mark, checker)
    if concat is not None and not (isinstance(source, Items) and len(source.items) > 1):
        _report(checker, source.mark, key, "concat joins several tensors", "make `from` a list of two or more names")
    if concat is not None and stack is not None:
        _report(checker, stack.mark, key, "concat and stack both join all tensors", "drop one of them")
    if isinstance(value, Table):
        _check_verb_names(value, key, checker)
    if len(checker.problems) > before:
        return
    for name, node in expand_entries(key, value).items():
        verbs = _verbs(node, name, checker) if isinstance(node, Table) else ()
        if len(checker.problems) > before:
            return
        wanted = node.get("from") if isinstance(node, Table) else node
        templates = tuple(str(item.value) for item in _source_names(wanted or node, key, checker))
        yield Entry(name, templates, concat is not None, verbs, mark)


def _source_names(source: Node, key: str, checker: Checker) -> list[Scalar]:
    nodes = source.items if isinstance(source, Items) else (source,)
    found = [node for node in nodes if isinstance(node, Scalar) and isinstance(node.value, str) and node.value]
    if len(found) < len(nodes) or not nodes:
        _report(checker, source.mark, key, "the name of a checkpoint tensor or module, or a list of names, is expected")
    return found


def _check_name(node: Scalar, key: str, is_split: bool, is_stack: bool, checker: Checker) -> None:
    text = str(node.value)
    if is_stack and INDEX_FIELD not in text:
        _report(checker, node.mark, key, f"stack numbers its tensors, and {shown(text)} has no {INDEX_FIELD}")
    ours, theirs = groups_of(key), groups_of(text)
    if is_split and theirs:
        _report(checker, node.mark, key, "a tensor that is split is one tensor", "write its name without {a,b}")
    elif not is_split and [len(group) for group in ours] != [len(group) for group in theirs]:
        message = f"{_counted(ours)} in the key and {_counted(theirs)} in {shown(text)}; they pair one to one"
        _report(checker, node.mark, key, message)
    for field in _FIELD.findall(expanded_keys(text)[0]):
        if (field == INDEX_FIELD and is_stack) or field == EXPERT_FIELD:
            continue
        if field != LAYER_FIELD:
            hint = f"known: {LAYER_FIELD}, {EXPERT_FIELD}"
            _report(checker, node.mark, key, f"{shown(field)} in {shown(text)} means nothing", hint)
        elif not belongs_to_layer(key):
            hint = f"only keys that start with '{LAYER_KEY}' or '{ENCODER_KEY}{LAYER_KEY}' have one"
            _report(checker, node.mark, key, f"{LAYER_FIELD} in the name of a tensor that belongs to no layer", hint)


def _is_of_experts(key: str) -> bool:
    return EXPERT_PART in key.split(".")


def _check_expert(node: Scalar, key: str, is_unstacked: bool, checker: Checker) -> None:
    """A name for each expert, or one tensor that holds them all."""
    numbered = EXPERT_FIELD in str(node.value)
    if not _is_of_experts(key):
        if numbered:
            hint = f"only keys with '.{EXPERT_PART}.' in them have one"
            _report(checker, node.mark, key, f"{EXPERT_FIELD} in the name of a tensor that belongs to no expert", hint)
    elif numbered == is_unstacked:
        message = "unstack takes an expert's part of one tensor, and the name has {expert}: each has its own"
        hint = f"put {EXPERT_FIELD} into the name, or `unstack: true` where one tensor holds all experts"
        text = f"every expert would read all of {shown(str(node.value))}"
        _report(checker, node.mark, key, message if numbered else text, "drop one of them" if numbered else hint)


def _check_unstack(unstack: Node, value: Table, key: str, checker: Checker) -> None:
    if not _is_of_experts(key):
        hint = f"only keys with '.{EXPERT_PART}.' in them have one"
        _report(checker, unstack.mark, key, "unstack takes an expert's part, and this belongs to no expert", hint)
    elif next(verb for verb in value.entries if verb != "from") != "unstack":
        _report(checker, unstack.mark, key, "unstack comes after another verb", "write it first: it says what is read")


def belongs_to_layer(key: str) -> bool:
    """Whether a key stands for a tensor of every layer, of the one stack or of the encoder."""
    return key.removeprefix(ENCODER_KEY).startswith(LAYER_KEY)


def _check_split(split: Node, key: str, mark: Mark, checker: Checker) -> None:
    alternatives = len(expanded_keys(key))
    parts = split.get("parts") if isinstance(split, Table) else None
    taken = isinstance(split, Table) and "take" in split.entries
    if alternatives == 1 and not taken:
        _report(checker, mark, key, "a split gives several parts", "name a slot for each: name.{a,b}, or say `take:`")
    elif alternatives > 1 and taken:
        _report(checker, split.mark, key, "`take` and {a,b} both choose the part", "drop one of them")
    elif alternatives > 1 and isinstance(parts, Items) and len(parts.items) != alternatives:
        message = f"{len(parts.items)} parts for {alternatives} tensors {shown(key)}"
        _report(checker, parts.mark, key, message, "each part fills one")


def _check_verb_names(value: Table, key: str, checker: Checker) -> None:
    allowed = ["from", *VERBS]
    for verb, mark in value.keys.items():
        if verb not in allowed:
            hint = hints(did_you_mean(verb, allowed), f"allowed: {listed(allowed)}")
            checker.problems.append(mark.problem(join(_path(key), verb), f"unknown verb '{clipped(verb)}'", hint))


def _verbs(node: Table, key: str, checker: Checker) -> tuple[Group, ...]:
    groups = []
    for verb, options in node.entries.items():
        if verb == "from":
            continue
        path = join(_path(key), verb)
        word = VERBS[verb]
        flag = isinstance(options, Scalar) and options.value is True
        if flag:
            options = Table({}, {}, options.mark)
        if not isinstance(options, Table) or (not flag and not word.model_fields):
            expected = "true" if not word.model_fields else "true or a mapping" if word is Concat else "a mapping"
            checker.problems.append(options.mark.problem(path, f"{expected} is expected"))
            continue
        group = checker.group(options, word, path, per_layer=belongs_to_layer(key), in_list=True)
        if group is not None:
            groups.append(group)
            if word is Split:
                _check_take(group, checker)
    return tuple(groups)


def _check_take(group: Group, checker: Checker) -> None:
    take, parts = group.fields.get("take"), group.fields["parts"]
    if isinstance(take, Constant) and isinstance(take.value, int) and isinstance(parts, Row):
        last = len(parts.items) - 1
        if take.value > last:
            checker.problems.append(take.mark.problem(take.path, f"part {take.value} of a split whose last is {last}"))


def _counted(groups: tuple[tuple[str, ...], ...]) -> str:
    sizes = " × ".join(str(len(group)) for group in groups)
    return f"{sizes} alternatives" if groups else "no alternatives"


def _path(key: str) -> str:
    return join("weights.tensors", key)


def _report(checker: Checker, mark: Mark, key: str, message: str, hint: str = "") -> None:
    checker.problems.append(mark.problem(_path(key), message, hint))


def _pairs(node: Node | None, path: str, problems: list[Problem]) -> tuple[tuple[str, str], ...]:
    entries = node.entries if isinstance(node, Table) else {}
    pairs = tuple(
        (old, new.value) for old, new in entries.items() if isinstance(new, Scalar) and isinstance(new.value, str)
    )
    if node is not None and (not isinstance(node, Table) or len(pairs) < len(entries)):
        problems.append(node.mark.problem(path, "a mapping from old endings of names to new ones is expected"))
    return pairs
