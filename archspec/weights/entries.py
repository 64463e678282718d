"""Entries of the weight table: the checkpoint names of one slot or module, and the verbs that apply to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from archc.archspec.checking.checked_nodes import CheckedSection, Constant, ListValue
from archc.archspec.checking.checker import Checker
from archc.archspec.errors import clip, did_you_mean, format_list, format_value, join_hints
from archc.archspec.source.alternatives import MAX_ALTERNATIVES, alternatives_of, expand_entry, expand_name
from archc.archspec.source.nodes import (
    ListNode,
    MappingNode,
    Mark,
    Node,
    ScalarNode,
    empty_mapping,
    is_null,
    join_path,
)
from archc.archspec.vocabulary.schema import keys_of
from archc.archspec.vocabulary.verbs import VERBS, Concat, Split

LAYER_KEY = "layer."
ENCODER_KEY = "encoder."
EXPERT_PART = "expert"  # of a key: every expert
LAYER_FIELD = "{layer}"
LAYER_FIELDS = re.compile(r"\{layer(?: (//|%) ([1-9]\d{0,3}))?\}")
"""The index of a layer in a name, or its quotient or remainder: `{layer}`, `{layer // 2}`, `{layer % 2}`."""
INDEX_FIELD = "{index}"
EXPERT_FIELD = "{expert}"

_KEY = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_FIELD = re.compile(r"\{[^{}]*\}|[{}]")
_EXPERT_KEY_HINT = f"only keys that contain '.{EXPERT_PART}.' belong to experts"


@dataclass(frozen=True)
class Entry:
    """One entry of the table: the name of a slot or module, and the checkpoint names that fill it.

    All names are read if `reads_all`; otherwise they are alternatives, of which the first present one is read.
    `others` are alternatives with verbs of their own, for checkpoints that have none of the names.
    """

    key: str
    names: tuple[str, ...]
    reads_all: bool
    verbs: tuple[CheckedSection, ...]
    mark: Mark
    others: tuple[Entry, ...] = ()

    @property
    def fields(self) -> frozenset[str]:
        """Return the names in braces in the checkpoint names, except the numbers of layers, experts and tensors."""
        found = {field for name in self.names for field in _FIELD.findall(name) if not LAYER_FIELDS.fullmatch(field)}
        return frozenset(field[1:-1] for field in found - {EXPERT_FIELD, INDEX_FIELD})

    @property
    def alternatives(self) -> tuple[Entry, ...]:
        """Return the entry and its alternatives with verbs of their own."""
        return (self, *self.others)


def check_entries(key: str, value: Node, mark: Mark, checker: Checker) -> Iterator[Entry]:
    """Yield the entries of one line of the table; nothing after reporting a problem."""
    if not isinstance(value, ListNode) or not any(isinstance(item, MappingNode) for item in value.items):
        yield from _Line(key, value, mark, checker).check()
        return
    alternatives = [list(_Line(key, item, mark, checker).check()) for item in value.items]
    if all(alternatives):
        for first, *others in zip(*alternatives, strict=True):
            yield replace(first, others=tuple(others))


def entry_path(key: str) -> str:
    """Return the path of an entry in a spec."""
    return join_path("weights.tensors", key)


def belongs_to_layer(key: str) -> bool:
    """Return whether a key stands for a tensor of every layer, of the decoder, of the encoder or of each."""
    return all(name.removeprefix(ENCODER_KEY).startswith(LAYER_KEY) for name in expand_name(key))


@dataclass(frozen=True)
class _Line:
    """One line of the table, which may stand for several entries: `layer.attention.{q,k,v}`."""

    key: str
    value: Node
    mark: Mark
    checker: Checker

    def check(self) -> Iterator[Entry]:
        """Yield the entries of the line; nothing after reporting a problem."""
        problem_count = len(self.checker.problems)
        if any(not _KEY.fullmatch(name) for name in expand_name(self.key)):
            hint = f"use names separated by dots, and at most {MAX_ALTERNATIVES} alternatives {{a,b}}"
            self.report(self.mark, "invalid name of a slot", hint)
            return
        if is_null(self.value):
            message = "expected a checkpoint name, got null"
            self.report(self.value.mark, message, "null only removes an entry that `extends` inherits")
            return
        source = self.verb("from") if isinstance(self.value, MappingNode) else self.value
        if source is None:
            self.report(self.value.mark, "missing key 'from'", "add the name of the checkpoint tensor")
            return
        for name in self.source_names(source):
            self.check_placeholders(name)
            self.check_expert(name)
        self.check_verbs(source)
        if len(self.checker.problems) > problem_count:
            return
        for key, node in expand_entry(self.key, self.value).items():
            verbs = _check_options(node, key, self.checker) if isinstance(node, MappingNode) else ()
            if len(self.checker.problems) > problem_count:
                return
            from_node = node.get("from") if isinstance(node, MappingNode) else node
            names = tuple(str(item.value) for item in self.source_names(from_node or node))
            yield Entry(key, names, self.verb("concat") is not None, verbs, self.mark)

    def verb(self, name: str) -> Node | None:
        """Return the options of a verb of the entry, or None."""
        return self.value.get(name) if isinstance(self.value, MappingNode) else None

    def report(self, mark: Mark, message: str, hint: str = "") -> None:
        """Append a problem of the entry."""
        self.checker.problems.append(mark.problem(entry_path(self.key), message, hint))

    def source_names(self, source: Node) -> list[ScalarNode]:
        """Return the checkpoint names in `from`, or in an entry without verbs."""
        nodes = source.items if isinstance(source, ListNode) else (source,)
        names = [node for node in nodes if isinstance(node, ScalarNode) and isinstance(node.value, str) and node.value]
        if len(names) < len(nodes) or not nodes:
            self.report(source.mark, "expected the name of a checkpoint tensor or module, or a list of names")
        return names

    def check_placeholders(self, node: ScalarNode) -> None:
        """Check alternatives and placeholders of a checkpoint name against the key and the verbs."""
        name = str(node.value)
        is_split, is_stack = self.verb("split") is not None, self.verb("stack") is not None
        if is_stack and INDEX_FIELD not in name:
            hint = f"add {INDEX_FIELD} to the name"
            self.report(node.mark, f"stack reads numbered tensors, but {format_value(name)} has no number", hint)
        key_groups, name_groups = alternatives_of(self.key), alternatives_of(name)
        if is_split and name_groups:
            self.report(node.mark, "split reads one tensor, but the name has alternatives", "remove {a,b}")
        elif not is_split and [len(group) for group in key_groups] != [len(group) for group in name_groups]:
            message = f"{_count(key_groups)} in the key, but {_count(name_groups)} in {format_value(name)}"
            self.report(node.mark, message, "use the same numbers in both")
        for field in _FIELD.findall(expand_name(name)[0]):
            if (field == INDEX_FIELD and is_stack) or field == EXPERT_FIELD:
                continue
            if field[1:-1] in self.checker.known_names(per_layer=False):
                continue  # a value of the config, such as the name of a language
            if not LAYER_FIELDS.fullmatch(field) and field[1:-1] not in (self.checker.names or ()):
                hint = f"supported: {LAYER_FIELD}, {EXPERT_FIELD}, and names of `config:` and `derive:`"
                message = f"unknown placeholder {format_value(field)} in {format_value(name)}"
                self.report(node.mark, message, hint)
            elif not belongs_to_layer(self.key):
                hint = f"only keys that start with '{LAYER_KEY}' or '{ENCODER_KEY}{LAYER_KEY}' belong to layers"
                self.report(node.mark, f"{field} in an entry that does not belong to a layer", hint)

    def check_expert(self, node: ScalarNode) -> None:
        """Check that experts have one tensor each, or one tensor with `unstack`."""
        is_numbered, is_unstacked = EXPERT_FIELD in str(node.value), self.verb("unstack") is not None
        if not self.belongs_to_expert():
            if is_numbered:
                message = f"{EXPERT_FIELD} in an entry that does not belong to an expert"
                self.report(node.mark, message, _EXPERT_KEY_HINT)
        elif is_numbered and is_unstacked:
            message = f"unstack reads one tensor of all experts, but the name contains {EXPERT_FIELD}"
            self.report(node.mark, message, "remove one of them")
        elif not is_numbered and not is_unstacked:
            hint = f"add {EXPERT_FIELD} to the name, or `unstack: true` if one tensor holds all experts"
            self.report(node.mark, f"all experts read the same tensor {format_value(str(node.value))}", hint)

    def belongs_to_expert(self) -> bool:
        """Return whether the key stands for a tensor of every expert."""
        return EXPERT_PART in self.key.split(".")

    def check_verbs(self, source: Node) -> None:
        """Check the combination of verbs, and their names."""
        if not isinstance(self.value, MappingNode):
            return
        concat, stack, unstack, split = map(self.verb, ("concat", "stack", "unstack", "split"))
        if unstack is not None:
            self.check_unstack(unstack, self.value)
        if split is not None:
            self.check_split(split)
        if concat is not None and not (isinstance(source, ListNode) and len(source.items) > 1):
            self.report(source.mark, "concat requires several tensors", "list two or more names in `from`")
        if concat is not None and stack is not None:
            self.report(stack.mark, "concat and stack cannot be combined", "remove one of them")
        allowed = ["from", *VERBS]
        for verb, mark in self.value.key_marks.items():
            if verb not in allowed:
                hint = join_hints(did_you_mean(verb, allowed), f"allowed: {format_list(allowed)}")
                path = join_path(entry_path(self.key), verb)
                self.checker.problems.append(mark.problem(path, f"unknown verb '{clip(verb)}'", hint))

    def check_unstack(self, unstack: Node, value: MappingNode) -> None:
        """Check that `unstack` is the first verb of an expert's entry, or the second after `reshape`."""
        if not self.belongs_to_expert():
            self.report(unstack.mark, "unstack in an entry that does not belong to an expert", _EXPERT_KEY_HINT)
        elif next(verb for verb in value.entries if verb not in ("from", "reshape")) != "unstack":
            self.report(unstack.mark, "unstack follows another verb", "write it first; it selects what is read")

    def check_split(self, split: Node) -> None:
        """Check that every slot of a split has one part."""
        slots = len(expand_name(self.key))
        parts = split.get("parts") if isinstance(split, MappingNode) else None
        has_take = isinstance(split, MappingNode) and "take" in split.entries
        if slots == 1 and not has_take:
            hint = "name one slot per part, name.{a,b}, or add `take:`"
            self.report(self.mark, "split has several parts, but the key is one slot", hint)
        elif slots > 1 and has_take:
            self.report(split.mark, "`take` and {a,b} both select the part", "remove one of them")
        elif slots > 1 and isinstance(parts, ListNode) and len(parts.items) != slots:
            message = f"{len(parts.items)} parts for the {slots} slots {format_value(self.key)}"
            self.report(parts.mark, message, "use one part per slot")


def _check_options(node: MappingNode, key: str, checker: Checker) -> tuple[CheckedSection, ...]:
    """Return the verbs of an entry with their options checked; append problems to the checker's."""
    verbs = []
    for verb, options in node.entries.items():
        if verb == "from":
            continue
        path = join_path(entry_path(key), verb)
        section = VERBS[verb]
        is_flag = isinstance(options, ScalarNode) and options.value is True
        if is_flag:
            options = empty_mapping(options.mark)
        if not isinstance(options, MappingNode) or (not is_flag and not keys_of(section)):
            expected = "true" if not keys_of(section) else "true or a mapping" if section is Concat else "a mapping"
            checker.problems.append(options.mark.problem(path, f"expected {expected}"))
            continue
        checked = checker.section(options, section, path, per_layer=belongs_to_layer(key), in_list=True)
        if checked is not None:
            verbs.append(checked)
            if section is Split:
                _check_take(checked, checker)
    return tuple(verbs)


def _check_take(split: CheckedSection, checker: Checker) -> None:
    take, parts = split.fields.get("take"), split.fields["parts"]
    if isinstance(take, Constant) and isinstance(take.value, int) and isinstance(parts, ListValue):
        last = len(parts.items) - 1
        if take.value > last:
            message = f"index {take.value} is out of range for {len(parts.items)} parts"
            checker.problems.append(take.mark.problem(take.path, message, f"use at most {last}"))


def _count(groups: tuple[tuple[str, ...], ...]) -> str:
    sizes = " × ".join(str(len(group)) for group in groups)
    return f"{sizes} alternatives" if groups else "no alternatives"
