"""Merging of two trees, for `extends`, `variants` and `--set`: the upper tree takes precedence.

Mappings merge key by key; lists and single values replace. If a section changes its kind, keys that the new kind lacks
are dropped.
"""

from __future__ import annotations

from archc.archspec.errors import Problem, did_you_mean, format_value
from archc.archspec.source.alternatives import expand_entry, expand_name
from archc.archspec.source.nodes import (
    ListNode,
    MappingNode,
    Node,
    ScalarNode,
    empty_mapping,
    is_null,
    join_path,
)
from archc.archspec.vocabulary import Model, Section
from archc.archspec.vocabulary.schema import Schema, SectionSchema, keys_of


def merge_sections(lower: MappingNode, upper: MappingNode) -> MappingNode:
    """Merge the vocabulary sections of two specs."""
    return merge_section(lower, upper, Model)


def merge_section(lower: MappingNode, upper: MappingNode, section: type[Section]) -> MappingNode:
    """Merge two mappings of one section class."""
    return _merge_mappings(lower, upper, SectionSchema({None: section}))


def merge_entries(lower: MappingNode, upper: MappingNode) -> MappingNode:
    """Merge two mappings with free keys, such as `derive:`, at every depth."""
    entries = dict(lower.entries)
    for key, value in upper.entries.items():
        below = entries.get(key)
        if isinstance(below, MappingNode) and isinstance(value, MappingNode):
            value = merge_entries(below, value)
        entries[key] = value
    return MappingNode(entries, {**lower.key_marks, **upper.key_marks}, upper.mark)


def merge_derived(lower: MappingNode, upper: MappingNode, problems: list[Problem]) -> MappingNode:
    """Merge two `derive:` sections; null removes an inherited name."""
    removed = [name for name, value in upper.entries.items() if is_null(value)]
    for name in removed:
        if name not in lower.entries:
            message = f"null removes an inherited name; no name {format_value(name)} is inherited"
            hint = did_you_mean(name, lower.entries)
            problems.append(upper.key_marks[name].problem(join_path("derive", name), message, hint))
    merged = merge_entries(lower, upper)
    entries = {name: value for name, value in merged.entries.items() if name not in removed}
    return MappingNode(entries, merged.key_marks, merged.mark)


def merge_config(lower: MappingNode, upper: MappingNode) -> MappingNode:
    """Merge two `config:` sections. A new `default` without `absent` replaces the inherited `absent` as well."""
    merged = merge_entries(lower, upper)
    entries = dict(merged.entries)
    for key, above in upper.entries.items():
        entry = entries[key]
        if isinstance(above, MappingNode) and isinstance(entry, MappingNode) and "default" in above.entries:
            remaining = {
                name: node for name, node in entry.entries.items() if name != "absent" or name in above.entries
            }
            entries[key] = MappingNode(remaining, entry.key_marks, entry.mark)
    return MappingNode(entries, merged.key_marks, merged.mark)


def merge_weights(lower: MappingNode, upper: MappingNode, problems: list[Problem]) -> MappingNode:
    """Merge two `weights:` sections: tables by tensor name, ignore lists by concatenation."""
    merged = merge_entries(lower, upper)
    entries = dict(merged.entries)
    below, above = lower.get("ignore"), upper.get("ignore")
    if isinstance(below, ListNode) and isinstance(above, ListNode):
        entries["ignore"] = ListNode((*below.items, *above.items), above.mark)
    lower_table, upper_table = lower.get("tensors"), upper.get("tensors")
    if isinstance(upper_table, MappingNode):
        inherited = lower_table if isinstance(lower_table, MappingNode) else empty_mapping(upper_table.mark)
        entries["tensors"] = merge_tensors(inherited, upper_table, problems)
    return MappingNode(entries, merged.key_marks, merged.mark)


def merge_tensors(lower: MappingNode, upper: MappingNode, problems: list[Problem]) -> MappingNode:
    """Merge two weight tables so that no tensor has two entries; a null entry removes an inherited one."""
    replaced = {name for key in upper.entries for name in expand_name(key)}
    entries: dict[str, Node] = {}
    key_marks = {**lower.key_marks}
    inherited: set[str] = set()
    for key, value in lower.entries.items():
        names = expand_name(key)
        inherited.update(names)
        if replaced.isdisjoint(names):
            entries[key] = value
        elif not replaced.issuperset(names):
            expanded = expand_entry(key, value)
            entries.update({name: node for name, node in expanded.items() if name not in replaced})
            key_marks.update(dict.fromkeys(expanded, lower.key_marks[key]))
    for key, value in upper.entries.items():
        key_marks[key] = upper.key_marks[key]
        if not is_null(value):
            entries[key] = value
        elif inherited.isdisjoint(expand_name(key)):
            message = f"null removes an inherited entry; no entry {format_value(key)} is inherited"
            hint = did_you_mean(key, lower.entries)
            problems.append(upper.key_marks[key].problem(join_path("weights.tensors", key), message, hint))
    return MappingNode(entries, {key: key_marks[key] for key in entries}, upper.mark)


def _merge(lower: Node, upper: Node, schema: Schema) -> Node:
    if not isinstance(schema, SectionSchema):
        return upper
    below, above = _as_mapping(lower, schema), _as_mapping(upper, schema)
    if not isinstance(below, MappingNode) or not isinstance(above, MappingNode):
        return upper
    return _merge_mappings(below, above, schema)


def _merge_mappings(lower: MappingNode, upper: MappingNode, schema: SectionSchema) -> MappingNode:
    lower_kind = _kind(lower) or schema.default_kind
    kind = _kind(upper) or lower_kind
    section = schema.classes.get(kind)
    # Two overrides of one section may leave its kind to the file that they change.
    candidates = [section] if section is not None else schema.classes.values()
    keys = {name: key for candidate in candidates for name, key in keys_of(candidate).items()}
    entries = dict(lower.entries)
    if _kind(upper) not in (None, lower_kind) and section is not None:
        entries = {key: value for key, value in entries.items() if key in keys}
        entries = {"kind": upper.entries["kind"], **entries}
    key_marks = {**lower.key_marks, **upper.key_marks}
    for key, value in upper.entries.items():
        below = entries.get(key)
        entries[key] = _merge(below, value, keys[key].schema) if below is not None and key in keys else value
    return MappingNode(entries, {key: key_marks[key] for key in entries}, upper.mark)


def _as_mapping(node: Node, schema: SectionSchema) -> Node:
    """Return a section that is written as its kind alone as a mapping with the key `kind`."""
    if isinstance(node, ScalarNode):
        kind = "none" if node.value is None else node.value
        if isinstance(kind, str) and kind in schema.kinds:
            return MappingNode({"kind": ScalarNode(kind, node.mark)}, {"kind": node.mark}, node.mark)
    return node


def _kind(node: MappingNode) -> str | None:
    kind = node.get("kind")
    if not isinstance(kind, ScalarNode):
        return None
    return "none" if kind.value is None else str(kind.value)
