"""Trees of modules and tables of tensors, as lines of text; built from names and shapes alone."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from archc.cli.console import columns

_PARAMETERS = ("weight", "bias")
_ORDER = ("embedding", "encoder", "relative_bias", "layers", "final_norm", "head", "pooler")


@dataclass(frozen=True)
class TensorRow:
    """One tensor: a slot of a model, or a stored tensor of a plan; `source` is its name in a checkpoint."""

    name: str
    shape: tuple[int, ...]
    dtype: str | None = None
    source: str | None = None

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def module(self) -> str:
        """Path of the module that owns the tensor."""
        parts = self.name.split(".")
        owned = next((i for i, part in enumerate(parts) if i and part in _PARAMETERS), len(parts) - 1)
        return ".".join(parts[:owned])


@dataclass
class ModuleNode:
    """A module with its own tensors and its child modules."""

    path: str = ""
    rows: list[TensorRow] = field(default_factory=list)
    children: dict[str, ModuleNode] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of elements, those of child modules included."""
        return sum(row.count for row in self.rows) + sum(node.count for node in self.children.values())

    def signature(self) -> object:
        """Return a value that is equal for modules with the same names, shapes and dtypes."""
        own = [(row.name[len(self.path) :], row.shape, row.dtype) for row in self.rows]
        return own, [(name, node.signature()) for name, node in self.children.items()]


def module_tree(rows: Iterable[TensorRow]) -> ModuleNode:
    """Return the module tree that the tensors' names imply, in the order embedding, layers by number, the rest."""
    root = ModuleNode()
    for row in rows:
        node = root
        for part in row.module.split("."):
            path = f"{node.path}.{part}" if node.path else part
            node = node.children.setdefault(part, ModuleNode(path))
        node.rows.append(row)
    rank = {name: index for index, name in enumerate(_ORDER)}
    root.children = dict(sorted(root.children.items(), key=lambda item: rank.get(item[0], len(rank))))
    for stack in (root, root.children.get("encoder", ModuleNode())):
        layers = stack.children.get("layers")
        if layers is not None and all(name.isdecimal() for name in layers.children):
            layers.children = dict(sorted(layers.children.items(), key=lambda item: int(item[0])))
    return root


def tree_lines(root: ModuleNode, descriptions: Mapping[str, str]) -> list[str]:
    """Return the tree as text: name, parameters, and the description of that path; equal layers are folded."""
    lines = [*_tree_rows(root, descriptions, "")]
    return columns(None, [(name, f"{count:,}", text) for name, count, text in lines], right=(1,))


def _tree_rows(node: ModuleNode, descriptions: Mapping[str, str], indent: str) -> Iterable[tuple[str, int, str]]:
    groups = _folded(node, descriptions)
    for index, (name, child, repeats) in enumerate(groups):
        last = index == len(groups) - 1
        shapes = ", ".join(f"{row.name[len(child.path) + 1 :]} {list(row.shape)}" for row in child.rows)
        each = f"each of {repeats} alike" if repeats > 1 else ""
        text = "; ".join(part for part in (each, descriptions.get(child.path, ""), shapes) if part)
        yield f"{indent}{'└─ ' if last else '├─ '}{name}", child.count, text
        yield from _tree_rows(child, descriptions, indent + ("   " if last else "│  "))


def _folded(node: ModuleNode, descriptions: Mapping[str, str]) -> list[tuple[str, ModuleNode, int]]:
    """Return label, module and repeat count of the child modules, consecutive equal layers or experts as one."""
    folded: list[tuple[str, ModuleNode, int]] = []
    for name, child in node.children.items():
        if child.children and all(part.isdecimal() for part in child.children):
            runs: list[list[ModuleNode]] = []
            for layer in child.children.values():
                if runs and _identity(runs[-1][0], descriptions) == _identity(layer, descriptions):
                    runs[-1].append(layer)
                else:
                    runs.append([layer])
            for run in runs:
                first, last = (layer.path.rpartition(".")[2] for layer in (run[0], run[-1]))
                label = f"{name}.{first}" if len(run) == 1 else f"{name}.{first}-{last}"
                folded.append((label, run[0], len(run)))
        else:
            folded.append((name, child, 1))
    return folded


def _identity(layer: ModuleNode, descriptions: Mapping[str, str]) -> object:
    prefix = f"{layer.path}."
    described = [
        (path[len(layer.path) :], text) for path, text in descriptions.items() if f"{path}.".startswith(prefix)
    ]
    return layer.signature(), described


def describe(word: BaseModel, without: Collection[str] = ()) -> str:
    """Return a word of a spec on one line: its kind, and each value that is not its default, except `without`."""
    parts = [str(kind)] if (kind := getattr(word, "kind", None)) is not None else []
    for name, info in type(word).model_fields.items():
        value = getattr(word, name)
        is_default = not info.is_required() and value == info.get_default(call_default_factory=True)
        if name != "kind" and name not in without and not is_default:
            parts.append(f"{name} ({describe(value)})" if isinstance(value, BaseModel) else f"{name} {_format(value)}")
    return ", ".join(parts)


def _format(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def tensor_table(rows: Sequence[TensorRow]) -> list[str]:
    """Return a line for every tensor, and a total."""
    header, cells = ["TENSOR", "SHAPE", "COUNT"], [[row.name, str(list(row.shape)), f"{row.count:,}"] for row in rows]
    for title, values in (("DTYPE", [row.dtype for row in rows]), ("CHECKPOINT", [row.source for row in rows])):
        if any(value is not None for value in values):
            header.append(title)
            for line, value in zip(cells, values, strict=True):
                line.append(value or "")
    total = [f"{len(rows)} tensors", "", f"{sum(row.count for row in rows):,}", *[""] * (len(header) - 3)]
    return columns(header, [*cells, total], right=(2,))
