"""Reads a spec file and those that it extends, and lays them over each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from archc.archspec.binding.spec import Spec, build_spec
from archc.archspec.errors import Problem, SpecError, did_you_mean, listed, shown
from archc.archspec.source.catalog import SUFFIXES, find_spec, shipped
from archc.archspec.source.header import SECTIONS, check_header
from archc.archspec.source.merging import merge_config, merge_entries, merge_sections, merge_weights
from archc.archspec.source.raw_spec import RawSpec
from archc.archspec.source.yaml_tree import Items, Node, Scalar, Table, parse_tree, read_tree

MAX_CHAIN = 8


def load_spec(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Spec:
    """A spec by the name of a shipped one or by path, with `--set path=value` overrides.

    Raises SpecError with every fault of the file.
    """
    path = find_spec(name_or_path)
    tree = read_tree(path)
    problems: list[Problem] = []
    raw = _resolve(tree, str(path), path, (path.resolve(),), problems)
    return build_spec(raw, overrides, problems)


def load_spec_text(text: str, file: str = "spec", overrides: Sequence[str] = ()) -> Spec:
    """A spec from its text, as a plan carries it; it can extend shipped specs only. Raises SpecError."""
    problems: list[Problem] = []
    raw = _resolve(parse_tree(text, file), file, None, (), problems)
    return build_spec(raw, overrides, problems)


def _resolve(tree: Node, file: str, path: Path | None, chain: tuple[Path, ...], problems: list[Problem]) -> RawSpec:
    if not isinstance(tree, Table):
        raise SpecError(
            [*problems, tree.mark.problem("", "a mapping is expected", "the first key is usually `family:`")]
        )
    header = check_header(tree, problems)
    sections = {key: value for key, value in tree.entries.items() if key in SECTIONS}
    own = RawSpec(
        file,
        header,
        tree,
        _table(tree, "config", problems),
        _table(tree, "derive", problems),
        _patterns(tree.get("ignore_config"), problems),
        tree.get("sizes"),
        _variants(tree.get("variants"), problems),
        _table(tree, "weights", problems),
        Table(sections, {key: tree.keys[key] for key in sections}, tree.mark),
    )
    parent_path = _parent(tree.get("extends"), path, chain, problems)
    if parent_path is None:
        if tree.get("extends") is not None:
            raise SpecError(problems)
        return own
    parent_tree = read_tree(parent_path)
    parent = _resolve(parent_tree, str(parent_path), parent_path, (*chain, parent_path.resolve()), problems)
    return RawSpec(
        file,
        header,
        tree,
        merge_config(parent.config, own.config),
        merge_entries(parent.derive, own.derive),
        (*parent.ignore_config, *own.ignore_config),
        own.sizes,
        (*parent.variants, *own.variants),
        merge_weights(parent.weights, own.weights, problems),
        merge_sections(parent.sections, own.sections),
    )


def _parent(node: Node | None, path: Path | None, chain: tuple[Path, ...], problems: list[Problem]) -> Path | None:
    """The file that `extends` names, or None after a problem was reported."""
    if node is None:
        return None
    if not isinstance(node, Scalar) or not isinstance(node.value, str) or not node.value:
        problems.append(node.mark.problem("extends", "the name of a spec is expected"))
        return None
    name = node.value
    if Path(name).is_absolute() or ".." in Path(name).parts or "\\" in name or "\0" in name:
        hint = "name a spec beside this file or below it, or a shipped one"
        problems.append(node.mark.problem("extends", f"{shown(name)} leaves the folder of the spec", hint))
        return None
    if len(chain) >= MAX_CHAIN:
        problems.append(node.mark.problem("extends", f"a chain of more than {MAX_CHAIN} specs"))
        return None
    folder = path.parent if path is not None else None
    known = shipped()
    candidates = []
    if folder is not None:
        candidates = [folder / (name if Path(name).suffix in SUFFIXES else f"{name}{suffix}") for suffix in SUFFIXES]
    if name in known:
        candidates.append(known[name])
    here = path.resolve() if path is not None else None
    existing = [candidate for candidate in candidates if candidate.is_file()]
    other = [candidate for candidate in existing if candidate.resolve() != here]
    if existing and not other:
        problems.append(node.mark.problem("extends", f"{shown(name)} is this spec itself"))
        return None
    if not other:
        beside = []
        if folder is not None:
            files = [found for suffix in SUFFIXES for found in (folder / name).parent.glob(f"*{suffix}")]
            beside = [(Path(name).parent / found.stem).as_posix() for found in files if found != path]
        hint = did_you_mean(name, [*beside, *known]) or (f"shipped specs: {listed(known)}" if known else "")
        problems.append(node.mark.problem("extends", f"there is no spec {shown(name)}", hint))
        return None
    parent = other[0]
    if parent.resolve() in chain:
        names = [found.stem for found in (*chain[chain.index(parent.resolve()) :], parent)]
        problems.append(node.mark.problem("extends", f"specs extend each other in a circle: {' → '.join(names)}"))
        return None
    inside = folder is not None and parent.resolve().is_relative_to(folder.resolve())
    if not inside and parent != known.get(name):
        problems.append(node.mark.problem("extends", f"{shown(name)} leaves the folder of the spec", "by a link"))
        return None
    return parent


def _table(tree: Table, key: str, problems: list[Problem]) -> Table:
    node = tree.get(key)
    if isinstance(node, Table):
        return node
    if node is not None and not (isinstance(node, Scalar) and node.value is None):
        problems.append(node.mark.problem(key, "a mapping is expected"))
    return Table({}, {}, tree.keys.get(key, tree.mark))


def _patterns(node: Node | None, problems: list[Problem]) -> tuple[Scalar, ...]:
    if node is None:
        return ()
    nodes = node.items if isinstance(node, Items) else ()
    found = tuple(item for item in nodes if isinstance(item, Scalar) and isinstance(item.value, str) and item.value)
    if len(found) < max(len(nodes), 1):
        problems.append(node.mark.problem("ignore_config", "a list of config keys or patterns (`*`) is expected"))
    return found


def _variants(node: Node | None, problems: list[Problem]) -> tuple[Node, ...]:
    if node is None:
        return ()
    if not isinstance(node, Items) or not node.items:
        problems.append(node.mark.problem("variants", "a list of mappings with `when:` is expected"))
        return ()
    return node.items
