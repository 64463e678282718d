"""Facts of one family: its header, its sizes, its figure, and the rows about it in docs/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from archc.archspec import BoundSpec, Spec, load_spec
from archc.archspec.source.catalog import shipped, valid_headers
from archc.archspec.source.header import Header
from archc.archspec.source.nodes import MappingNode, ScalarNode
from archc.archspec.source.yaml_reader import read_tree
from archc.cli.draw.subject import Subject, read_subject
from archc.cli.inspect.binding import required_names
from archc.compiler.structure.model import structure
from archc.draw.describe.blocks import Model
from archc.draw.describe.model import describe_model
from website.places import DOCS
from website.tables import read_tables
from website.terms import terms_of

Row = Mapping[str, str]


@dataclass(frozen=True)
class SizeOf:
    """A named size of a family, or its defaults, whose name is empty."""

    name: str
    bound: BoundSpec
    parameters: int


class Family:
    """A shipped spec; every fact is computed when it is read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = shipped()[name]

    @cached_property
    def spec(self) -> Spec:
        """The checked spec."""
        return load_spec(self.name)

    @cached_property
    def header(self) -> Header:
        """The keys that describe the file."""
        return headers()[self.name]

    @cached_property
    def parent(self) -> str | None:
        """The shipped family that the spec extends."""
        return parents()[self.name]

    @cached_property
    def children(self) -> list[str]:
        """The shipped families that extend this one."""
        return [name for name, parent in parents().items() if parent == self.name]

    @cached_property
    def sizes(self) -> list[SizeOf]:
        """The defaults, if they are complete, and every named size."""
        names = [*([None] if not required_names(self.spec) else []), *self.spec.sizes]
        bounds = [self.spec.bind(size=name) for name in names]
        return [SizeOf(bound.size or "", bound, structure(bound).parameters) for bound in bounds]

    @cached_property
    def subject(self) -> Subject:
        """The drawn size: the defaults, or the first named one."""
        return read_subject(self.name, self.sizes[0].name or None, [], [])

    @cached_property
    def model(self) -> Model:
        """The blocks of the figure."""
        return describe_model(self.subject.bound, self.subject.totals.parameters)

    @cached_property
    def terms(self) -> tuple[str, ...]:
        """The words of the field that hold for one of the sizes."""
        return terms_of(size.bound for size in self.sizes)

    @cached_property
    def checks(self) -> Row | None:
        """The row of docs/families.md: measured differences from the reference."""
        return _row("families.md", self.name)

    @cached_property
    def targets(self) -> Row | None:
        """The row of docs/targets.md: builds that succeed."""
        return _row("targets.md", self.name)

    @cached_property
    def checkpoints(self) -> list[Row]:
        """The rows of docs/checkpoints.md: official checkpoints whose builds are tested."""
        return [row for row in _tables("checkpoints.md")["checkpoint"] if row["spec"].partition(",")[0] == self.name]


@cache
def headers() -> dict[str, Header]:
    """Return the headers of all shipped specs."""
    return valid_headers(shipped())[0]


@cache
def parents() -> dict[str, str | None]:
    """Return the shipped family that each shipped family extends."""
    found: dict[str, str | None] = {}
    for name, path in shipped().items():
        found[name] = _extended(path)
    return found


def _extended(path: Path) -> str | None:
    tree = read_tree(path)
    extends = tree.get("extends") if isinstance(tree, MappingNode) else None
    name = extends.value if isinstance(extends, ScalarNode) else None
    return str(name) if name in shipped() else None


@cache
def _tables(page: str) -> dict[str, list[dict[str, str]]]:
    return read_tables(DOCS / page)


def _row(page: str, family: str) -> Row | None:
    return next((row for row in _tables(page)["family"] if row["family"] == family), None)
