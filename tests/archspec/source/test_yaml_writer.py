from __future__ import annotations

from archc.archspec.source.nodes import to_python
from archc.archspec.source.yaml_reader import parse_tree
from archc.archspec.source.yaml_writer import write_tree


def test_dumped_text_parses_to_the_same_tree() -> None:
    text = "a: 1e-6\nb: 'no'\nc: [none, '3', '1e-6', ~, true, 'true', '0o17', x y]\nd: {e: ''}\n"
    tree = parse_tree(text, "x")
    assert to_python(parse_tree(write_tree(tree), "x")) == to_python(tree)
