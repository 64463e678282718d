"""How one tree is laid over another: for `extends`, `variants` and `--set`.

Mappings merge deeply and the upper one wins; lists and leaves replace. Where a section changes its kind, keys that the
new kind does not have are dropped and those that it shares are kept.
"""

from __future__ import annotations

from archc.archspec.checking.word_schema import SectionShape, Shape, fields_of
from archc.archspec.errors import Problem, did_you_mean, shown
from archc.archspec.source.yaml_tree import Items, Node, Scalar, Table, join
from archc.archspec.vocabulary import Model, Word
from archc.archspec.weights.keys import expand_entries, expanded_keys


def merge_sections(lower: Table, upper: Table) -> Table:
    """The computing sections of two specs as one."""
    merged = _merge_group(lower, upper, SectionShape({None: Model}))
    return merged if isinstance(merged, Table) else upper


def fill_in(lower: Table, upper: Table, word: type[Word]) -> Node:
    """A section over another of its class, from which it takes what it does not say."""
    return _merge_group(lower, upper, SectionShape({None: word}))


def merge_entries(lower: Table, upper: Table) -> Table:
    """Two mappings of free names, merged deeply: `derive:`, and what is in them."""
    entries = dict(lower.entries)
    for key, value in upper.entries.items():
        below = entries.get(key)
        entries[key] = merge_entries(below, value) if isinstance(below, Table) and isinstance(value, Table) else value
    return Table(entries, {**lower.keys, **upper.keys}, upper.mark)


def merge_config(lower: Table, upper: Table) -> Table:
    """Two `config:` sections; a new `default` is also what an absent key means, unless `absent` stands beside it."""
    merged = merge_entries(lower, upper)
    entries = dict(merged.entries)
    for key, above in upper.entries.items():
        entry = entries[key]
        if isinstance(above, Table) and isinstance(entry, Table) and "default" in above.entries:
            kept = {name: node for name, node in entry.entries.items() if name != "absent" or name in above.entries}
            entries[key] = Table(kept, entry.keys, entry.mark)
    return Table(entries, merged.keys, merged.mark)


def merge_weights(lower: Table, upper: Table, problems: list[Problem]) -> Table:
    """Two `weights:` sections: tables by tensor name, ignore lists joined; a null entry removes an inherited one."""
    merged = merge_entries(lower, upper)
    entries = dict(merged.entries)
    below, above = lower.get("ignore"), upper.get("ignore")
    if isinstance(below, Items) and isinstance(above, Items):
        entries["ignore"] = Items((*below.items, *above.items), above.mark)
    tensors_below, tensors_above = lower.get("tensors"), upper.get("tensors")
    if isinstance(tensors_above, Table):
        under = tensors_below if isinstance(tensors_below, Table) else Table({}, {}, tensors_above.mark)
        entries["tensors"] = merge_tensors(under, tensors_above, problems)
    return Table(entries, merged.keys, merged.mark)


def merge_tensors(lower: Table, upper: Table, problems: list[Problem]) -> Table:
    """Two weight tables as one in which no tensor has two entries."""
    replaced = {name for key in upper.entries for name in expanded_keys(key)}
    entries: dict[str, Node] = {}
    keys = {**lower.keys}
    inherited: set[str] = set()
    for key, value in lower.entries.items():
        names = expanded_keys(key)
        inherited.update(names)
        if replaced.isdisjoint(names):
            entries[key] = value
        elif not replaced.issuperset(names):
            parts = expand_entries(key, value)
            entries.update({name: node for name, node in parts.items() if name not in replaced})
            keys.update(dict.fromkeys(parts, lower.keys[key]))
    for key, value in upper.entries.items():
        keys[key] = upper.keys[key]
        if not (isinstance(value, Scalar) and value.value is None):
            entries[key] = value
        elif inherited.isdisjoint(expanded_keys(key)):
            near = did_you_mean(key, lower.entries)
            message = f"null removes an inherited entry, and there is none for {shown(key)}"
            problems.append(upper.keys[key].problem(join("weights.tensors", key), message, near))
    return Table(entries, {key: keys[key] for key in entries}, upper.mark)


def _merge(lower: Node, upper: Node, shape: Shape) -> Node:
    if not isinstance(shape, SectionShape):
        return upper
    below, above = _written_out(lower, shape), _written_out(upper, shape)
    if not isinstance(below, Table) or not isinstance(above, Table):
        return upper
    return _merge_group(below, above, shape)


def _merge_group(lower: Table, upper: Table, shape: SectionShape) -> Node:
    before = _kind(lower) or shape.default_kind
    kind = _kind(upper) or before
    word = shape.classes.get(kind)
    # Two overrides of one section may leave its kind to the file that they change.
    possible = [word] if word is not None else shape.classes.values()
    fields = {name: field for each in possible for name, field in fields_of(each).items()}
    kept = dict(lower.entries)
    if _kind(upper) not in (None, before) and word is not None:
        kept = {key: value for key, value in kept.items() if key in fields}
        kept = {"kind": upper.entries["kind"], **kept}
    keys = {**lower.keys, **upper.keys}
    for key, value in upper.entries.items():
        below = kept.get(key)
        kept[key] = _merge(below, value, fields[key].shape) if below is not None and key in fields else value
    return Table(kept, {key: keys[key] for key in kept}, upper.mark)


def _written_out(node: Node, shape: SectionShape) -> Node:
    """A section written as one word, as the mapping that it stands for."""
    if isinstance(node, Scalar):
        kind = "none" if node.value is None else node.value
        if isinstance(kind, str) and kind in shape.kinds:
            return Table({"kind": Scalar(kind, node.mark)}, {"kind": node.mark}, node.mark)
    return node


def _kind(node: Table) -> str | None:
    found = node.get("kind")
    if not isinstance(found, Scalar):
        return None
    return "none" if found.value is None else str(found.value)
