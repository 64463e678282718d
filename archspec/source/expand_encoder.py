"""Writes out what an encoder-decoder's spec leaves unsaid: its encoder is the decoder but for what `encoder:` says, and
its cross-attention the attention but for what `cross_attention:` says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from archc.archspec.checking.word_schema import fields_of
from archc.archspec.errors import Problem
from archc.archspec.source.merging import fill_in
from archc.archspec.source.yaml_tree import Node, Scalar, Table
from archc.archspec.vocabulary import CrossAttention, Encoder, Word

# Where a path's section takes what it does not say.
_ORIGINS = {"encoder.": "", "cross_attention.": "attention."}


def write_out(sections: Table) -> Table:
    """The sections with `encoder` and `cross_attention` complete; those of another topology as they are."""
    topology = sections.get("topology")
    wanted = isinstance(topology, Scalar) and topology.value == "encoder-decoder"
    if not wanted and sections.entries.keys().isdisjoint(("encoder", "cross_attention")):
        return sections
    attention = sections.get("attention")
    lower = attention if isinstance(attention, Table) else Table({}, {}, sections.mark)
    entries, keys = dict(sections.entries), dict(sections.keys)
    for key, word, below in (("encoder", Encoder, sections), ("cross_attention", CrossAttention, lower)):
        if not wanted and key not in entries:
            continue
        above = entries.get(key, Table({}, {}, below.mark))
        if isinstance(above, Table):
            entries[key] = _inherited(below, above, word)
            keys.setdefault(key, below.mark)
    return Table(entries, keys, sections.mark)


def _inherited(lower: Table, upper: Table, word: type[Word]) -> Node:
    """The upper section over the lower one's keys that its word knows."""
    known = {key: node for key, node in lower.entries.items() if key in fields_of(word)}
    return fill_in(Table(known, {key: lower.keys[key] for key in known}, lower.mark), upper, word)


def without_echoes(problems: Iterable[Problem]) -> Iterator[Problem]:
    """The problems, each once: what is wrong with an inherited value is said where it stands."""
    found = list(problems)
    said = {(f"{problem.path}.".lstrip("."), problem.message) for problem in found}
    for problem in found:
        path = f"{problem.path}."
        origins = (origin + path.removeprefix(start) for start, origin in _ORIGINS.items() if path.startswith(start))
        if not any((origin, problem.message) in said for origin in origins):
            yield problem
