"""The raw spec: a file merged with the specs that it extends; only its header and top-level keys are checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from archc.archspec.errors import Problem, SpecError, did_you_mean, format_value
from archc.archspec.source.catalog import LIST_SPECS, SUFFIXES, find_spec, shipped, specs_dir
from archc.archspec.source.config_entries import FIXED, in_full
from archc.archspec.source.header import Header, check_header
from archc.archspec.source.merging import merge_config, merge_derived, merge_sections, merge_weights
from archc.archspec.source.nodes import ListNode, MappingNode, Node, ScalarNode, empty_mapping, is_null
from archc.archspec.source.top_keys import SECTIONS, check_top_keys
from archc.archspec.source.yaml_reader import parse_tree, read_tree

MAX_CHAIN = 8  # specs that extend each other


@dataclass(frozen=True)
class RawSpec:
    """The parts of a spec as trees. `tree` is the file itself; the other trees include inherited keys."""

    file: str
    header: Header
    tree: MappingNode
    config: MappingNode
    derive: MappingNode
    ignore_config: tuple[ScalarNode, ...]
    sizes: Node | None
    variants: tuple[Node, ...]
    weights: MappingNode
    sections: MappingNode


def read_raw_spec(name_or_path: str | Path, problems: list[Problem]) -> RawSpec:
    """Return the spec of a file or of a shipped name with its parents. Raises SpecError for an unreadable file."""
    path = find_spec(name_or_path)
    return _resolve(read_tree(path), str(path), path, (path.resolve(),), problems)


def parse_raw_spec(text: str, file: str, problems: list[Problem]) -> RawSpec:
    """Return the spec of a text; it can extend shipped specs only. Raises SpecError for invalid YAML."""
    return _resolve(parse_tree(text, file), file, None, (), problems)


def _resolve(tree: Node, file: str, path: Path | None, chain: tuple[Path, ...], problems: list[Problem]) -> RawSpec:
    if not isinstance(tree, MappingNode):
        raise SpecError([*problems, tree.mark.problem("", "expected a mapping", "begin with `family:`")])
    check_top_keys(tree, problems)
    header = check_header(tree, problems)
    sections = {key: value for key, value in tree.entries.items() if key in SECTIONS}
    own = RawSpec(
        file,
        header,
        tree,
        in_full(_mapping(tree, "config", problems), _mapping(tree, FIXED, problems), problems),
        _mapping(tree, "derive", problems),
        _patterns(tree.get("ignore_config"), problems),
        tree.get("sizes"),
        _variants(tree.get("variants"), "extends" in tree.entries, problems),
        _mapping(tree, "weights", problems),
        MappingNode(sections, {key: tree.key_marks[key] for key in sections}, tree.mark),
    )
    extends = tree.get("extends")
    if extends is None:
        return own
    parent_path = _find_parent(extends, path, chain, problems)
    if parent_path is None:
        raise SpecError(problems)
    parent_tree = read_tree(parent_path)
    parent = _resolve(parent_tree, str(parent_path), parent_path, (*chain, parent_path.resolve()), problems)
    return RawSpec(
        file,
        header,
        tree,
        merge_config(parent.config, own.config),
        merge_derived(parent.derive, own.derive, problems),
        (*parent.ignore_config, *own.ignore_config),
        own.sizes,
        own.variants if _is_empty_list(tree.get("variants")) else (*parent.variants, *own.variants),
        merge_weights(parent.weights, own.weights, problems),
        merge_sections(parent.sections, own.sections),
    )


def _find_parent(node: Node, path: Path | None, chain: tuple[Path, ...], problems: list[Problem]) -> Path | None:
    """Return the file that `extends` names, or None after appending a problem.

    The file must be in the folder of the spec or below it, symbolic links included, or be a shipped spec.
    """

    def report(message: str, hint: str = "") -> Path | None:
        problems.append(node.mark.problem("extends", message, hint))
        return None

    if not isinstance(node, ScalarNode) or not isinstance(node.value, str) or not node.value:
        return report("expected the name of a spec")
    name = node.value
    outside = f"{format_value(name)} is outside the folder of the spec"
    if Path(name).is_absolute() or ".." in Path(name).parts or "\\" in name or "\0" in name:
        return report(outside, "use a spec in this folder or below it, or a shipped one")
    if len(chain) >= MAX_CHAIN:
        return report(f"more than {MAX_CHAIN} specs extend each other", "merge some of them")
    folder = path.parent if path is not None else None
    available = shipped()
    candidates = []
    if folder is not None:
        candidates = [folder / (name if Path(name).suffix in SUFFIXES else f"{name}{suffix}") for suffix in SUFFIXES]
    own = specs_dir() / f"{name}.yaml"  # also in a folder of the shipped ones, such as tasks/decoder
    candidates.append(own)
    here = path.resolve() if path is not None else None
    existing = [candidate for candidate in candidates if candidate.is_file()]
    parents = [candidate for candidate in existing if candidate.resolve() != here]
    if existing and not parents:
        return report(f"{format_value(name)} is this spec", "extend another one")
    if not parents:
        siblings = []
        if folder is not None:
            files = [file for suffix in SUFFIXES for file in (folder / name).parent.glob(f"*{suffix}")]
            siblings = [(Path(name).parent / file.stem).as_posix() for file in files if file != path]
        hint = did_you_mean(name, [*siblings, *available]) or LIST_SPECS
        return report(f"spec {format_value(name)} not found", hint)
    parent = parents[0]
    if parent.resolve() in chain:
        names = [file.stem for file in (*chain[chain.index(parent.resolve()) :], parent)]
        return report(f"specs extend each other in a cycle: {' → '.join(names)}", "remove one `extends`")
    inside = folder is not None and parent.resolve().is_relative_to(folder.resolve())
    if not inside and parent != own:
        return report(f"{outside}, through a symbolic link", "copy the file into the folder")
    return parent


def _mapping(tree: MappingNode, key: str, problems: list[Problem]) -> MappingNode:
    node = tree.get(key)
    if isinstance(node, MappingNode):
        return node
    if node is not None and not is_null(node):
        problems.append(node.mark.problem(key, "expected a mapping"))
    return empty_mapping(tree.key_marks.get(key, tree.mark))


def _patterns(node: Node | None, problems: list[Problem]) -> tuple[ScalarNode, ...]:
    if node is None:
        return ()
    nodes = node.items if isinstance(node, ListNode) else ()
    patterns = tuple(
        item for item in nodes if isinstance(item, ScalarNode) and isinstance(item.value, str) and item.value
    )
    if len(patterns) < max(len(nodes), 1):
        problems.append(node.mark.problem("ignore_config", "expected a list of config keys or patterns (`*`)"))
    return patterns


def _is_empty_list(node: Node | None) -> bool:
    return isinstance(node, ListNode) and not node.items


def _variants(node: Node | None, is_child: bool, problems: list[Problem]) -> tuple[Node, ...]:
    """Return the items of `variants:`; an empty list, which removes inherited variants, is valid in a child only."""
    if node is None or (is_child and _is_empty_list(node)):
        return ()
    if not isinstance(node, ListNode) or not node.items:
        problems.append(node.mark.problem("variants", "expected a list of mappings with `when:`"))
        return ()
    return node.items
