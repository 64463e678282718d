"""A spec after `extends`: laid together, but with nothing checked except its header and its top level."""

from __future__ import annotations

from dataclasses import dataclass

from archc.archspec.source.header import Header
from archc.archspec.source.yaml_tree import Node, Scalar, Table


@dataclass(frozen=True)
class RawSpec:
    """The parts of a spec as trees; `tree` is the file itself, everything else includes what it inherits."""

    file: str
    header: Header
    tree: Table
    config: Table
    derive: Table
    ignore_config: tuple[Scalar, ...]
    sizes: Node | None
    variants: tuple[Node, ...]
    weights: Table
    sections: Table
