"""YAML writer: a tree of nodes to text."""

from __future__ import annotations

from typing import Any

import yaml

from archc.archspec.source.nodes import ListNode, MappingNode, Node
from archc.archspec.source.yaml_reader import resolve_plain


def write_tree(node: Node) -> str:
    """Return YAML text that parses to the same tree."""
    text: str = yaml.dump(
        _plain(node), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=False
    )
    return text


class _QuotedText(str):
    """A string that is written in quotes."""


def _plain(node: Node) -> Any:
    if isinstance(node, MappingNode):
        return {key: _plain(value) for key, value in node.entries.items()}
    if isinstance(node, ListNode):
        return [_plain(item) for item in node.items]
    return _QuotedText(node.value) if isinstance(node.value, str) and node.quoted else node.value


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    try:
        plain = isinstance(resolve_plain(data), str) and not isinstance(data, _QuotedText)
    except ValueError:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(data), style=None if plain else '"')


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(_QuotedText, _represent_text)
