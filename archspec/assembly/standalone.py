"""The text of a spec on its own, as a plan stores it: `extends` resolved and overrides applied."""

from __future__ import annotations

from collections.abc import Collection

from archc.archspec.source.config_entries import shortened
from archc.archspec.source.inheritance import RawSpec
from archc.archspec.source.merging import merge_sections
from archc.archspec.source.nodes import ListNode, MappingNode, Node, ScalarNode
from archc.archspec.source.overrides import Overrides
from archc.archspec.source.top_keys import SECTIONS
from archc.archspec.source.yaml_writer import write_tree

_HEADER_KEYS = ("family", "description", "source", "match")


def standalone_text(raw: RawSpec, overrides: Overrides, names: Collection[str], read: Collection[str]) -> str:
    """Return the YAML of a spec that extends nothing.

    `names` are the config and derived names to declare. Those of `read`, which the spec reads without overrides, that
    are no longer declared become ignored keys, so that configs stay valid.
    """
    mark = raw.tree.mark
    sections, variants = raw.sections, list(raw.variants)
    changed = overrides.sections
    if changed.entries and variants:
        # A variant must not replace an override, so the override becomes the last variant.
        variants.append(_mapping({"when": ScalarNode(True, changed.mark), **changed.entries}, changed))
    elif changed.entries:
        sections = merge_sections(sections, changed)
    # A child may read a key that its parent ignores.
    ignored = [pattern for pattern in raw.ignore_config if pattern.value not in names]
    ignored += [ScalarNode(name, mark) for name in raw.config.entries if name in read and name not in names]
    parts: dict[str, Node] = {key: raw.tree.entries[key] for key in _HEADER_KEYS if key in raw.tree.entries}
    declared = {name: node for name, node in raw.config.entries.items() if name in names}
    parts["config"] = shortened(_mapping(declared, raw.tree))
    parts["derive"] = _mapping({name: node for name, node in raw.derive.entries.items() if name in names}, raw.tree)
    parts["ignore_config"] = ListNode(tuple(ignored), mark)
    if raw.sizes is not None:
        parts["sizes"] = raw.sizes
    parts |= {key: sections.entries[key] for key in SECTIONS if key in sections.entries}
    parts["variants"] = ListNode(tuple(variants), mark)
    parts["weights"] = raw.weights
    return write_tree(_mapping({key: node for key, node in parts.items() if not _is_empty(node)}, raw.tree))


def _mapping(entries: dict[str, Node], place: MappingNode) -> MappingNode:
    return MappingNode(entries, {}, place.mark)


def _is_empty(node: Node) -> bool:
    return (isinstance(node, MappingNode) and not node.entries) or (isinstance(node, ListNode) and not node.items)
