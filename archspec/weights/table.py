"""The `weights:` section of a spec: the table, and prefixes, renamed endings and ignored tensors of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from archc.archspec.checking.checked_nodes import names_in
from archc.archspec.checking.checker import Checker
from archc.archspec.errors import Problem, clip, did_you_mean, format_list, join_hints
from archc.archspec.source.header import check_texts
from archc.archspec.source.nodes import MappingNode, Node, ScalarNode, join_path
from archc.archspec.weights.entries import Entry, check_entries, entry_path
from archc.archspec.weights.ignored import IgnoredNames, check_ignored

KEYS = ("optional_prefix", "rename", "ignore", "tensors")


@dataclass(frozen=True)
class WeightTable:
    """A checked `weights:` section."""

    prefixes: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    ignore: tuple[IgnoredNames, ...] = ()
    entries: Mapping[str, Entry] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """Return the config names that sizes and ignored numbers in the table read."""
        verbs = (verb for entry in self.entries.values() for each in entry.alternatives for verb in each.verbs)
        fields = (each.fields for entry in self.entries.values() for each in entry.alternatives)
        return frozenset().union(*map(names_in, verbs), *fields, *(pattern.names for pattern in self.ignore))


def check_weights(node: Node | None, checker: Checker) -> WeightTable:
    """Return the table of a `weights:` section; append problems to the checker's."""
    problems = checker.problems
    if node is None:
        return WeightTable()
    if not isinstance(node, MappingNode):
        problems.append(node.mark.problem("weights", "expected a mapping", f"keys: {format_list(KEYS)}"))
        return WeightTable()
    for key, mark in node.key_marks.items():
        if key not in KEYS:
            hint = join_hints(did_you_mean(key, KEYS), f"allowed: {format_list(KEYS)}")
            problems.append(mark.problem(join_path("weights", key), f"unknown key '{clip(key)}'", hint))
    entries: dict[str, Entry] = {}
    ignored = node.get("ignore")
    ignore = [
        check_ignored(text, ignored.mark if ignored is not None else node.mark, checker)
        for text in check_texts(ignored, "weights.ignore", problems)
    ]
    tensors = node.get("tensors")
    if isinstance(tensors, MappingNode):
        for key, value in tensors.entries.items():
            for entry in check_entries(key, value, tensors.key_marks[key], checker):
                if entry.key in entries:
                    hint = f"remove one; the first is on line {entries[entry.key].mark.line}"
                    message = f"duplicate entry for '{entry.key}'"
                    problems.append(tensors.key_marks[key].problem(entry_path(key), message, hint))
                entries[entry.key] = entry
    elif tensors is not None:
        message = "expected a mapping from slots to checkpoint names"
        problems.append(tensors.mark.problem("weights.tensors", message))
    return WeightTable(
        check_texts(node.get("optional_prefix"), "weights.optional_prefix", problems),
        _rename_pairs(node.get("rename"), problems),
        tuple(ignore),
        entries,
    )


def _rename_pairs(node: Node | None, problems: list[Problem]) -> tuple[tuple[str, str], ...]:
    entries = node.entries if isinstance(node, MappingNode) else {}
    pairs = tuple(
        (old, new.value) for old, new in entries.items() if isinstance(new, ScalarNode) and isinstance(new.value, str)
    )
    if node is not None and (not isinstance(node, MappingNode) or len(pairs) < len(entries)):
        message = "expected a mapping from old name endings to new ones"
        problems.append(node.mark.problem("weights.rename", message))
    return pairs
